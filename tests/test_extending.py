"""The page on extending: its changes apply to the current code, touch as many files as it says, and work."""

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


def diffs(section: str) -> str:
    return "".join(re.findall(r"```diff\n(.*?)```", section, re.DOTALL))


def apply(hunks: str, path: Path) -> None:
    """Apply hunks to a file; what each one replaces must be there once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = path.read_text() if path.exists() else ""
    for hunk in re.split(r"^@@.*\n", hunks, flags=re.MULTILINE)[1:]:
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] in " -")
        after = "".join(line[1:] for line in lines if line[0] in " +")
        assert not before or content.count(before) == 1, f"{path}: {before!r} is there {content.count(before)} times"
        content = content.replace(before, after) if before else after
    path.write_text(content)


@pytest.mark.parametrize("title", FILES)
def test_the_example_applies_and_works(title: str, tmp_path: Path, text: Path) -> None:
    for package in ("core", "eetui"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "text.txt").write_text(text.read_text())
    changes = re.findall(
        r"^--- .*?\n\+\+\+ b/(\S+)\n(.*?)(?=^--- |\Z)", diffs(SECTIONS[title]), re.DOTALL | re.MULTILINE
    )
    for file, hunks in changes:
        apply(hunks, tmp_path / file)
    assert len({file for file, _ in changes}) == FILES[title]
    (check,) = re.findall(r"```python\n(.*?)```", SECTIONS[title], re.DOTALL)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_section_is_tried_or_refers_to_a_page_that_is() -> None:
    assert set(SECTIONS) - set(FILES) == {"A corpus reader"}
