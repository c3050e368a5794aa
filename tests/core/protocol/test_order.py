"""The plan: a config's stages, in order."""

from tests.core.training import MakeConfig, stage_names


def test_a_learned_exit_has_these_stages_and_softmax_has_none_to_fit(tiny_config: MakeConfig) -> None:
    assert stage_names(tiny_config("loss")) == (
        *("block0.lm", "block0.statistics", "block0.exit", "block0.hard"),
        *("block1.lm", "block1.statistics", "block1.exit", "block1.hard"),
        "evaluation",
    )
    assert not any(stage.endswith(".exit") for stage in stage_names(tiny_config("softmax")))


def test_joint_stages_end_with_an_exit_for_each_block(tiny_config: MakeConfig) -> None:
    assert stage_names(tiny_config("loss", protocol="joint", last_exit=False)) == (
        *("joint.lm", "block0.statistics", "block0.exit", "block0.hard", "block1.statistics", "evaluation"),
    )
    assert stage_names(tiny_config("agree", protocol="joint")) == (
        *("joint.lm", "exits.ahead", "block0.refit", "block0.threshold", "evaluation"),
    )
    priced = tiny_config("softmax", protocol="joint", block_layers=(1, 1, 1), policy="price")
    assert stage_names(priced) == (
        *("joint.lm", "exits.ahead", "exits.price", "block0.threshold", "block1.threshold", "evaluation"),
    )
    assert stage_names(tiny_config("softmax", protocol="joint", block_layers=(1,), policy="price"))[-1] == "evaluation"


def test_a_price_refits_what_was_fitted_before_the_later_blocks_from_the_last_exit_on(tiny_config: MakeConfig) -> None:
    names = stage_names(tiny_config("loss", block_layers=(1, 1, 1), policy="price"))
    ahead = ("exits.ahead", "block1.refit", "block0.refit", "exits.price", "block0.threshold", "block1.threshold")
    assert names[-len(ahead) - 1 :] == (*ahead, "evaluation")
    jointly = tiny_config("loss", block_layers=(1, 1, 1), policy="price", exit_classifier_mode="joint")
    assert not any(name.endswith("refit") for name in stage_names(jointly))
