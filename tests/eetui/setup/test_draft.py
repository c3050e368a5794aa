"""Drafts, their problems, and the plans they become."""

from pathlib import Path

import pytest

from core.config.run_config import (
    DEFAULT_PRESET,
    Layer,
    build,
    preset_layer,
    preset_names,
)
from core.config.sections import OWN_FIELDS
from core.errors import ConfigError
from core.extensions.plugins import unpinned
from core.session.plan import REPORT_METHODS
from eetui.setup.draft import Draft
from eetui.setup.fields import METHOD_FILES, METHODS, NAME, PRESET, SEEDS, TAGS, Raw


def edited(**raws: Raw) -> Draft:
    draft = Draft()
    for name, raw in raws.items():
        draft = draft.edited(name.replace("__", "."), raw)
    return draft


def test_an_untouched_draft_is_its_preset() -> None:
    for preset in preset_names():
        plan = Draft(preset).plan()
        base = build([preset_layer(preset)])
        methods = [base.method] if preset == "deep" else list(REPORT_METHODS)
        assert [config.method for config in plan.configs] == methods
        assert all(config.model_copy(update={"method": base.method}) == base for config in plan.configs)
        assert (plan.preset, plan.names, plan.tags) == (preset, (None,) * len(methods), ())


def test_only_what_differs_from_the_preset_counts_as_changed() -> None:
    draft = edited(train__lr="0.0030", model__block_layers="2,2", methods=("softmax", "loss", "distill"))
    assert draft.edits == {}
    assert edited(train__lr="0.002").reset("train.lr") == Draft()
    assert edited(train__lr="0.002", model__causal=False).edits == {"train.lr": "0.002", "model.causal": False}


def test_another_preset_keeps_what_the_user_changed() -> None:
    draft = edited(train__lr="0.002", train__max_epochs="50").edited(PRESET, "seed")
    assert draft.preset == "seed"
    assert draft.edits == {"train.lr": "0.002"}  # 50 epochs are the seed preset's own
    assert draft.raw("data.num_samples") == "10000"


def test_a_plan_is_every_method_with_every_seed() -> None:
    draft = edited(methods=("loss", "correct"), seeds="2", seed="7", name="mine", tags="a b", train__lr="0.5")
    plan = draft.plan()
    assert draft.runs == 4
    assert [(config.method, config.seed) for config in plan.configs] == [
        ("loss", 7), ("correct", 7), ("loss", 8), ("correct", 8)
    ]  # fmt: skip
    assert plan.names == ("mine-loss-s7", "mine-correct-s7", "mine-loss-s8", "mine-correct-s8")
    assert plan.tags == ("a", "b")
    assert {config.train.lr for config in plan.configs} == {0.5}


@pytest.mark.parametrize(
    ("name", "raw", "reason"),
    [
        ("train.lr", "-1", "must be > 0, got -1"),
        ("train.lr", "", "must be a valid number, got ''"),
        ("train.batch_size", "2.5", "must be a valid integer, got 2.5"),
        ("data.corpus", "", "must have at least 1 character, got ''"),
        (METHODS, (), "must be one at least"),
        (SEEDS, "0", "must be 1 to 1000, got '0'"),
        (SEEDS, "x", "must be 1 to 1000, got 'x'"),
        (NAME, "12", "must not be a number"),
        (TAGS, "a\x07", "must be 1 to 200 printable characters"),
        (METHOD_FILES, "loss", "must be paths, such as ./mine.py, got 'loss'"),
        (METHOD_FILES, "./none.py", "must be a file that can be read (No such file or directory), got './none.py'"),
        (METHOD_FILES, "'./none.py", "must be paths, quoted where they have spaces"),
    ],
)
def test_a_problem_is_named_at_its_field(name: str, raw: Raw, reason: str) -> None:
    problems = Draft().edited(name, raw).problems()
    assert list(problems) == [name]
    assert problems[name].startswith(reason)
    with pytest.raises(ConfigError, match=name):
        Draft().edited(name, raw).plan()


def test_a_problem_of_several_fields_is_named_at_each() -> None:
    assert list(edited(model__dim="12").problems()) == ["model.dim", "model.num_heads"]
    assert list(edited(data__seq_len="2048").problems()) == ["data.seq_len", "model.max_seq_len"]


def test_several_problems_come_in_the_order_of_the_form() -> None:
    assert list(edited(train__lr="-1", name="7", model__eps="0").problems()) == [NAME, "model.eps", "train.lr"]


def test_a_draft_of_a_config_gives_that_config() -> None:
    config = Draft().edited("train.lr", "0.25").edited(METHODS, ("softmax",)).edited("model.block_layers", "1,3").plan()
    draft = Draft.of_config(config.configs[0], DEFAULT_PRESET)
    assert set(draft.edits) == {"train.lr", METHODS, "model.block_layers"}
    assert draft.plan().configs == config.configs
    assert Draft.of_config(config.configs[0], "gone").plan().configs == config.configs


def test_a_draft_of_a_run_on_a_pretrained_model_leaves_to_the_model_what_is_its_own() -> None:
    source = "hf:some/model#sha256=00"
    values = Layer("test", {"method": "gain", "model.source": source, "dim": 576, "model.norm": "pre"})
    draft = Draft.of_config(build([preset_layer("pretrained"), values]), "pretrained")
    assert draft.raw("model.source") == source
    assert not set(draft.edits) & set(OWN_FIELDS)
    assert not draft.edited("model.source", "hf:another").problems()


def test_own_methods_are_trained_beside_those_that_are_ticked(tmp_path: Path) -> None:
    first, second = tmp_path / "my first.py", tmp_path / "second.py"
    for file in (first, second):
        file.write_text("# to be loaded when a run begins\n")
    draft = edited(methods=("loss",), method_files=f"'{first}' {second}", name="x")
    assert draft.runs == 3
    plan = draft.plan()
    assert [config.method_name for config in plan.configs] == ["loss", "my first", "second"]
    assert plan.names == ("x-loss", "x-my first", "x-second")
    alone = edited(methods=(), method_files=str(second))
    assert [config.method_name for config in alone.plan().configs] == ["second"]


def test_a_draft_of_a_config_names_the_file_of_an_own_method_as_it_is_now(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("# before\n")
    (config,) = edited(methods=(), method_files=str(file)).plan().configs
    file.write_text("# after\n")
    draft = Draft.of_config(config, DEFAULT_PRESET)
    assert set(draft.edits) == {METHODS, METHOD_FILES}
    (now,) = draft.plan().configs
    assert now.method != config.method
    assert unpinned(now.method) == unpinned(config.method) == str(file)


def test_an_estimate_depends_on_neither_name_nor_tags() -> None:
    assert edited(name="a", tags="b").subject == Draft().subject
    assert edited(train__lr="0.25").subject != Draft().subject
