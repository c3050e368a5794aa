"""The page on extending: its changes apply to the code as it is, touch as many files as it says, and work."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text()
SECTIONS = {title: text for title, text in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)}
FILES = {"An exit method": 1, "A metric": 2, "A stage": 3, "A command": 2, "A screen": 4}
"""Files that each example touches; a screen's folder has two."""


@pytest.mark.parametrize("title", FILES)
def test_the_example_applies_and_works(title: str, tmp_path: Path, text: Path) -> None:
    for package in ("core", "eetui"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "text.txt").write_text(text.read_text())
    changes = "".join(re.findall(r"```diff\n(.*?)```", SECTIONS[title], re.DOTALL))
    assert len(set(re.findall(r"^\+\+\+ b/(\S+)", changes, re.MULTILINE))) == FILES[title]
    (tmp_path / "changes.diff").write_text(changes)
    git = ["git", "apply", "--recount", "--unidiff-zero", "changes.diff"]
    done = subprocess.run(git, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (check,) = re.findall(r"```python\n(.*?)```", SECTIONS[title], re.DOTALL)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_section_is_tried_or_refers_to_a_page_that_is() -> None:
    assert set(SECTIONS) - set(FILES) == {"A corpus reader"}
