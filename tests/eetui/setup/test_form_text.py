"""Fields, title and queue of the form, drawn without an app."""

import pytest

from core.config.derived import unused_exit_settings
from core.config.sections import OWN_FIELDS
from eetui.setup.draft import Draft, preset_values
from eetui.setup.fields import FIELDS
from eetui.setup.form_text import Look, Queue, about_field, field_lines, form_title, queue_line, queue_list


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


def test_a_field_without_effect_says_so_in_place_of_its_unit() -> None:
    unused = Draft().edited("exit.policy", "savings").edited("protocol", "joint").unused()
    assert {name for name in unused if name.startswith("exit.")} == {
        "exit.hard_ratio", "exit.price", "exit.loss_budget"
    }  # fmt: skip
    (line,) = field_lines(FIELDS["exit.price"], "0.05", Look(unused=unused["exit.price"]), 76).plain.splitlines()
    assert line.split() == ["price", "not", "used"]
    assert (
        "not used, as exit.policy is savings · number"
        in about_field(FIELDS["exit.price"], "0.05", changed=False, unused=unused["exit.price"]).plain
    )


def test_fields_of_pretrained_models_have_no_effect_on_others() -> None:
    own, frozen = Draft().unused(), Draft(preset="pretrained").unused()
    whole = Draft(preset="layerskip").unused()
    assert own["model.readout"] == "not used, as model.source is own"
    assert own["train.layer_dropout"] == frozen["train.layer_dropout"] == "not used, as train.backbone is frozen"
    assert "model.readout" not in frozen
    assert {name for name in whole if name.startswith(("train.", "model.", "data."))} == set(OWN_FIELDS)
    assert frozen["model.dim"] == "not used, as model.source is a pretrained model with its own"


@pytest.mark.parametrize(
    ("protocol", "policy", "used"),
    [
        ("joint", "quantile", {"hard_ratio"}),
        ("joint", "price", {"price", "cost"}),
        ("staged", "savings", {"savings", "cost", "hard_ratio"}),
        ("frozen", "loss", {"loss_budget", "cost"}),
        ("full_depth", "quantile", set()),
    ],
)
def test_each_policy_uses_what_it_aims_at(protocol: str, policy: str, used: set[str]) -> None:
    every = {"hard_ratio", "price", "savings", "loss_budget", "cost"}
    assert every - unused_exit_settings(protocol, policy) == used


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
