"""Threads of torch wait passively, unless the user has said how they are to wait."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

VARIABLES = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    bare = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=bare | variables,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.parametrize("module", ["core", "eetui", "eetui.cli.main", "core.estimate.process"])
def test_it_is_set_before_torch_can_have_been_imported(module: str) -> None:
    code = f"import os, sys, {module}; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    assert python(code).stdout == "PASSIVE False\n"


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_the_users_word_stands(name: str) -> None:
    code = f"import os, core; print({{name: os.environ[name] for name in {VARIABLES} if name in os.environ}})"
    assert python(code, **{name: "7"}).stdout == f"{{{name!r}: '7'}}\n"


def test_torchs_openmp_hears_of_it() -> None:
    shown = python("import core, torch", OMP_DISPLAY_ENV="TRUE").stderr
    assert re.search(r"OMP_WAIT_POLICY\s*=\s*'PASSIVE'", shown)
