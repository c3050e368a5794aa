"""The form as data: its fields follow from the config, and what is written into them becomes an experiment."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field as ConfigField

from core.config.run_config import (
    DEFAULT_PRESET,
    DataConfig,
    RunConfig,
    Unit,
    build,
    leaves,
    method_names,
    preset_layer,
    preset_names,
)
from core.errors import ConfigError
from core.estimate.estimate import Estimate
from core.estimate.workload import Span
from core.extensions.plugins import unpinned
from eetui.setup.draft import Draft, preset_values
from eetui.setup.estimate_text import Forecast, amount, forecast_lines, forecast_table, headline, rough_duration
from eetui.setup.fields import (
    FIELDS,
    METHOD_FILES,
    METHODS,
    NAME,
    PRESET,
    SEEDS,
    TAGS,
    Field,
    Raw,
    form_fields,
    parse,
    written,
)
from eetui.setup.form_text import Look, Queue, about_field, field_lines, form_title, queue_line, queue_list
from eetui.setup.plan import REPORT_METHODS, plan_from, run_names


class MoreData(DataConfig):
    shuffle: Literal["words", "lines", 3] | None = ConfigField("words", description="what is shuffled")
    overlap: Annotated[int, Unit("tokens")] = ConfigField(0, ge=0, lt=10, description="of neighbouring windows")


class MoreConfig(RunConfig):
    data: MoreData = MoreData()
    careful: bool = ConfigField(False, description="check everything twice")


def edited(**raws: Raw) -> Draft:
    draft = Draft()
    for name, raw in raws.items():
        draft = draft.edited(name.replace("__", "."), raw)
    return draft


# The fields


def test_every_field_of_the_config_is_there_with_its_meaning() -> None:
    own = {PRESET, METHODS, SEEDS, NAME, TAGS, METHOD_FILES}
    assert {name for name, _ in leaves()} - {"method"} == set(FIELDS) - own
    assert all(field.meaning for field in FIELDS.values())


def test_fields_stand_by_section_those_of_the_experiment_first() -> None:
    headings = [field.heading for field in FIELDS.values()]
    assert list(dict.fromkeys(headings)) == ["", "data", "model", "train", "exit", "machine"]
    assert headings == sorted(headings, key=headings.index)
    assert list(FIELDS)[:6] == [PRESET, METHODS, "data.corpus", "protocol", "seed", SEEDS]


def test_a_new_field_of_the_config_shows_up_by_itself() -> None:
    fields = {field.name: field for field in form_fields(MoreConfig)}
    assert fields["data.overlap"] == Field(
        "data.overlap", "integer", "of neighbouring windows", "tokens", "whole number ≥ 0, < 10"
    )
    assert (fields["data.shuffle"].kind, fields["data.shuffle"].choices) == ("choice", ("words", "lines", 3, None))
    assert (fields["careful"].kind, fields["careful"].heading) == ("switch", "")
    assert set(fields) == {*FIELDS, "data.overlap", "data.shuffle", "careful"}


def test_editors_fit_the_type() -> None:
    kinds = {name: field.kind for name, field in FIELDS.items()}
    assert kinds["train.lr"] == "number"
    assert kinds["train.batch_size"] == "integer"
    assert kinds["data.tokenizer"] == kinds[PRESET] == "choice"
    assert kinds["model.causal"] == "switch"
    assert kinds["model.block_layers"] == "list"
    assert kinds["data.eval_corpus"] == "text"
    assert kinds[METHODS] == "several"
    assert FIELDS[METHODS].choices == method_names()
    assert FIELDS[PRESET].choices == preset_names()
    assert FIELDS["data.eval_corpus"].optional


def test_units_and_limits_are_those_of_the_config() -> None:
    assert FIELDS["data.seq_len"].unit == "tokens"
    assert FIELDS["data.vocab_size"].limits == "whole number ≥ 257, ≤ 1,000,000"
    assert FIELDS["data.eval_corpus"].limits == "may be empty"


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("train.lr", " 3e-4 ", 3e-4),
        ("train.batch_size", "32", 32),
        ("train.batch_size", "2.5", 2.5),
        ("train.batch_size", "many", "many"),
        ("data.corpus", "123", "123"),
        ("data.eval_corpus", " ", None),
        ("model.causal", False, False),
        ("data.tokenizer", "bpe", "bpe"),
    ],
)
def test_text_is_read_as_the_field_wants_it(name: str, raw: Raw, value: object) -> None:
    assert parse(FIELDS[name], raw) == value


def test_choices_that_are_no_text_are_read_as_they_are() -> None:
    shuffle = next(field for field in form_fields(MoreConfig) if field.name == "data.shuffle")
    assert [parse(shuffle, written(choice)) for choice in shuffle.choices] == ["words", "lines", 3, None]


# Drafts


def test_an_untouched_draft_is_its_preset() -> None:
    for preset in preset_names():
        plan = Draft(preset).plan()
        base = build([preset_layer(preset)])
        assert [config.method for config in plan.configs] == list(REPORT_METHODS)
        assert all(config.model_copy(update={"method": base.method}) == base for config in plan.configs)
        assert (plan.preset, plan.names, plan.tags) == (preset, (None,) * 3, ())


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


def test_a_draft_of_a_config_makes_it_again() -> None:
    config = Draft().edited("train.lr", "0.25").edited(METHODS, ("softmax",)).edited("model.block_layers", "1,3").plan()
    draft = Draft.of_config(config.configs[0], DEFAULT_PRESET)
    assert set(draft.edits) == {"train.lr", METHODS, "model.block_layers"}
    assert draft.plan().configs == config.configs
    assert Draft.of_config(config.configs[0], "gone").plan().configs == config.configs


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


def test_names_on_the_command_line_are_called_as_there() -> None:
    with pytest.raises(ConfigError, match="--name must not be a number"):
        plan_from([preset_layer("quick")], ["loss"], name="7", sign="--")
    with pytest.raises(ConfigError, match="--tag must be one word"):
        plan_from([preset_layer("quick")], ["loss"], tags=["a b"], sign="--")
    assert run_names("x", plan_from([preset_layer("quick")], ["loss"]).configs) == ["x"]


# How they are drawn


def test_a_field_shows_mark_name_unit_and_meaning_around_its_editor() -> None:
    (line,) = field_lines(FIELDS["train.batch_size"], "32", Look(changed=True), 120).plain.splitlines()
    assert line.startswith("• batch_size  ")
    assert line[23:46].isspace()
    assert line[46:].split() == "windows windows of a batch".split()


def test_a_narrow_field_leaves_its_meaning_out_and_breaks_no_line() -> None:
    for name, field in FIELDS.items():
        (line,) = field_lines(field, preset_values("quick")[name], Look(), 76).plain.splitlines()
        assert len(line) <= 76
        assert field.meaning not in line


def test_a_long_meaning_goes_on_below_itself() -> None:
    lines = field_lines(FIELDS["exit.last_exit"], True, Look(), 100).plain.splitlines()
    assert len(lines) > 1
    assert all(line.startswith(" " * 61) for line in lines[1:])
    assert lines[0].split()[1] == "on"


def test_a_problem_stands_under_its_field() -> None:
    lines = field_lines(FIELDS["train.lr"], "-1", Look(problem="must be > 0, got -1"), 76).plain.splitlines()
    assert lines[1] == "    × must be > 0, got -1"


def test_the_field_in_focus_is_explained_with_its_limits_and_the_presets_value() -> None:
    text = about_field(FIELDS["train.lr"], "0.001", changed=True).plain
    assert text.splitlines()[0].startswith("train.lr  learning rate of block 0")
    assert text.splitlines()[1] == "number > 0 · preset: 0.001 (ctrl+r)"


def test_the_title_counts_runs_changes_and_problems() -> None:
    assert form_title("quick", 0, 1, 0).plain == "eetui · new experiment  1 run · preset quick"
    assert form_title("seed", 2, 3, 1).plain.endswith("3 runs · preset seed · 2 changed · 1 to correct")


def test_the_queue_is_shown_in_its_order() -> None:
    queue = Queue("a", ("b", "c"), preparing=True)
    assert queue_line(queue).plain == "▶ a  2 waiting: b, c  reading a corpus…"
    assert queue_list(queue).plain.splitlines() == ["Queue", "  ▶ a", "  1 b", "  2 c", "    reading a corpus…"]
    assert queue_list(Queue(None, ("b", "c", "d")), most=1).plain.splitlines()[-1].strip() == "and 2 more"
    assert queue_line(Queue()).plain == "no run waits"
    assert queue_list(Queue()).plain == "Queue  no run waits"


ESTIMATE = Estimate(
    runs=3,
    train_tokens=65_536,
    eval_tokens=12_288,
    vocab_size=4096,
    parameters=787_074,
    epochs=Span(3, 5),
    trained_tokens=Span(393_504, 655_840),
    flops=Span(9.3e11, 1.955e12),
    seconds=Span(21.4, 63.0),
    memory=503_000_000,
    device="cpu",
)


def test_an_estimate_is_two_lines_below_a_form_that_fit_80_columns() -> None:
    lines = forecast_lines(Forecast(ESTIMATE)).plain.splitlines()
    assert lines == [
        "3 runs · 65,536 + 12,288 tokens · 4,096 words · 787 k weights",
        "0.93–1.96 TFLOP · 21s–1m03s · 503 MB memory · 3–5 epochs a block",
    ]
    assert max(map(len, lines)) <= 78


def test_an_estimate_is_a_table_beside_a_form() -> None:
    table = forecast_table(Forecast(ESTIMATE))
    assert getattr(table, "row_count", 0) == 9


def test_an_estimate_says_when_not_to_trust_it() -> None:
    assert headline(Forecast(ESTIMATE, beside_training=True)).plain.endswith("unreliable")
    assert headline(Forecast(ESTIMATE, "measuring…", beside_training=True)).plain == "Estimate  measuring…"
    assert forecast_lines(Forecast(problem="× corpus x does not exist")).plain == "× corpus x does not exist"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (5, 5, "5 tokens"),
        (999.4, 999.4, "999 tokens"),
        (262_000, 1_310_000, "0.262–1.31 M tokens"),
        (0, 0, "0 tokens"),
    ],
)
def test_amounts_share_one_prefix(low: float, high: float, expected: str) -> None:
    assert amount(Span(low, high), " tokens") == expected


def test_durations_have_no_digit_that_nobody_knows() -> None:
    assert [rough_duration(seconds) for seconds in (0.1, 7.3, 59.4, 59.6, 125)] == ["1s", "7s", "59s", "1m00s", "2m05s"]
