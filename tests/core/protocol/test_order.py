"""The plan: which stages a config has, and in which order."""

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
        *("joint.lm", "block0.ahead", "block0.refit", "block0.threshold", "evaluation"),
    )
