"""Configs of older runs, completed by what newer fields were before they could be chosen."""

import subprocess
import sys

from core.config.dotted_names import flatten, nest
from core.config.run_config import Layer, RunConfig, build, fields
from core.config.stored import completed, seed_values


def test_what_was_stored_holds() -> None:
    config = build([Layer("test", {"norm": "pre", "seed": 7, "block_layers": (1, 2, 3)})]).model_dump(mode="json")
    found = completed(config)
    assert {key: found[key] for key in flatten(config)} == flatten(config)
    assert set(found) == set(fields())


def test_fields_that_are_newer_than_a_run_are_as_they_always_were() -> None:
    newer = {"protocol", "model.norm", "train.head", "exit.exited_state", "machine.head_dtype"}
    whole = flatten(RunConfig().model_dump(mode="json"))
    older = nest({key: value for key, value in whole.items() if key not in newer})
    assert completed(older) == completed(RunConfig().model_dump(mode="json"))
    assert completed(older)["protocol"] == "staged"
    assert build([Layer("run 1", completed(older))]) == build([Layer("run 1", flatten(older))])


def test_the_seed_preset_sets_what_a_field_is_without_it() -> None:
    defaults = {name: default for name, (_, default) in fields().items()}
    assert {name: value for name, value in seed_values().items() if _plain(value) != defaults[name]} == {}


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def test_neither_pydantic_nor_torch_is_imported() -> None:
    script = (
        "import sys, core.config.stored, core.metrics; core.config.stored.completed({}); "
        "print(*{'pydantic', 'torch', 'rich'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "\n"
