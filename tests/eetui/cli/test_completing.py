"""Shell completion: runs, methods, presets and config keys, without Typer, torch or Textual."""

import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from typer.main import get_command

from core.analysis.calibration_request import CalibrationRequest
from core.config.run_config import fields, preset_names
from core.importing.tokens import CLAIMS
from core.store.sweeps import create_sweep
from core.store.writer import Writer
from core.sweeps.search_space import SAMPLERS
from eetui.cli.choices import CHOICES
from eetui.cli.completing import FLAGS, GROUPS, OF_DELETED, OF_RUNS, OF_SWEEPS, answer
from eetui.cli.main import app
from eetui.figures.files import WIDTHS
from eetui.figures.kinds import KINDS
from eetui.figures.render import FORMATS
from eetui.runs.filters import SORTS
from eetui.trackers.contract import SHOWN_BY
from tests.scripted_runs import make_database


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_database(tmp_path_factory.mktemp("completing") / "runs.db")


def completed(line: str, db: Path) -> list[str] | None:
    words = line.split(" ")
    bash = {
        "_EETUI_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "EETUI_DB": str(db),
    }
    found = answer(bash)
    return None if found is None else found.split()


def test_runs_complete_by_name_and_number_newest_first(db: Path) -> None:
    assert completed("eetui show loss", db) == ["loss-4", "loss-1"]
    assert completed("eetui compare loss-1 dist", db) == ["distill-2"]
    assert completed("eetui show --json 2", db) == ["2"]
    assert completed("eetui report --force -o a.html loss", db) == ["loss-4", "loss-1"]
    assert completed("eetui compare --baseline loss", db) == ["loss-4", "loss-1"]
    assert completed("eetui queue drop dist", db) == ["distill-2"]
    assert completed("eetui queue l", db) is None
    assert completed(f"eetui --db {db.parent / 'none.db'} show loss", db) == []


def test_deleted_runs_complete_what_brings_them_back(tmp_path: Path) -> None:
    path = make_database(tmp_path / "runs.db")
    with Writer(path) as writer:
        writer.discard([1])
    assert completed("eetui restore lo", path) == ["loss-1"]
    assert completed("eetui show lo", path) == ["loss-4"]


def test_every_command_that_takes_runs_or_sweeps_completes_them_after_its_flags() -> None:
    program = get_command(app)
    found = [(name, command) for name, command in program.commands.items()]  # type: ignore[attr-defined]
    for group in GROUPS:
        found += [(f"{group} {name}", command) for name, command in program.commands[group].commands.items()]  # type: ignore[attr-defined]
    takes = {
        name: command
        for name, command in found
        if any((each.metavar or "").strip("[").startswith("RUN") for each in command.params)
        and any(each.param_type_name == "argument" for each in command.params)
    }
    assert set(takes) == {*OF_RUNS, *OF_DELETED}
    takes |= {name: command for name, command in found if any(each.metavar == "SWEEP" for each in command.params)}
    assert set(takes) == {*OF_RUNS, *OF_DELETED, *OF_SWEEPS}
    flags = [each for command in takes.values() for each in command.params if getattr(each, "is_flag", False)]
    assert {word for each in flags for word in (*each.opts, *each.secondary_opts)} == set(FLAGS)


def test_options_complete_their_values(db: Path) -> None:
    assert completed("eetui run --method s", db) == ["saturation", "softmax"]
    assert set(completed("eetui run --preset ", db) or ()) == set(preset_names())
    assert completed("eetui run --set train.later_", db) == ["train.later_lr_scale=", "train.later_init="]
    assert completed("eetui run --set hard_r", db) == ["hard_ratio="]
    assert {f"{name}=" for name in fields()} == set(completed("eetui run --set ", db) or ())


def test_metrics_complete_one_by_one(db: Path) -> None:
    assert completed("eetui compare --metrics flop", db) == ["flop_savings"]
    assert completed("eetui compare 1 --metrics ppl,sav", db) == ["ppl,savings"]
    assert completed("eetui sweep --objective ppl,acc", db) == ["ppl,accuracy"]
    assert completed("eetui ls --sort cre", db) == ["created"]
    assert set(completed("eetui ls --sort ", db) or ()) == set(SORTS)


def test_choices_are_those_of_the_command(db: Path) -> None:
    assert completed("eetui calibrate 1 --method ", db) == ["ltt", "crc"]
    assert completed("eetui export 1 --to t", db) == ["tensorboard", "trackio"]
    assert completed("eetui run --mirror ml", db) == ["mlflow:"]
    assert completed("eetui plot -k to", db) == ["tokens"]
    assert completed("eetui report --format ", db) == ["html", "md"]
    assert completed("eetui compare --format ", db) == ["table", "md", "csv", "json", "latex"]


def test_choices_are_those_that_are_taken() -> None:
    true = {
        "plot --format": FORMATS, "--kind": KINDS, "-k": KINDS, "--width": tuple(WIDTHS), "--to": tuple(SHOWN_BY),
        "--mirror": tuple(f"{name}:" for name in SHOWN_BY), "--claims": CLAIMS, "--search": SAMPLERS,
    }  # fmt: skip
    assert true.items() <= CHOICES.items()
    for method, over in product(CHOICES["calibrate --method"], CHOICES["calibrate --over"]):
        CalibrationRequest(max_ppl_increase=0.01, method=method, over=over).check()


def test_the_help_of_run_names_every_preset() -> None:
    (preset,) = (each for each in get_command(app).commands["run"].params if each.name == "preset")  # type: ignore[attr-defined]
    assert set(preset_names()) <= set(re.findall(r"\w+", preset.help))


def test_sweeps_complete_by_name_and_number(tmp_path: Path) -> None:
    path = make_database(tmp_path / "runs.db")
    with Writer(path) as writer:
        for name in ("lr", "lr-again", "ratio"):
            create_sweep(writer, name, {}, [])
    assert completed("eetui sweep show lr", path) == ["lr-again", "lr"]
    assert completed("eetui sweep resume --jobs 2 1", path) is None
    assert completed("eetui sweep cancel 3", path) == ["3"]
    assert completed("eetui sweep add-seeds ratio ", path) is None


def test_what_typer_knows_is_left_to_it(db: Path) -> None:
    for line in ("eetui sh", "eetui run --no", "eetui generate loss-1 --prompt a", "eetui ls los"):
        assert completed(line, db) is None


def test_zsh_is_told_in_its_own_words_and_nothing_slow_is_imported(db: Path) -> None:
    code = (
        "import sys; from eetui.__main__ import main; main(); "
        "slow = {'typer', 'torch', 'textual', 'pydantic', 'rich', 'numpy'} & set(sys.modules); assert not slow, slow"
    )
    environment = {
        "_EETUI_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "eetui show loss", "EETUI_DB": str(db),
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == """_arguments '*: :(("loss-4"\n"loss-1"))'\n"""
