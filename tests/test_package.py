"""The wheel and the source distribution: all that eetui needs is in them, and reading runs needs no torch."""

import os
import re
import shlex
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import eetui
from tests.scripted_runs import make_database

hatchling = pytest.importorskip("hatchling.build")
ROOT = Path(__file__).parents[1]
READ = ("ls", "show 1", "compare 1 2", "sql 'select name from run_results'", "export 1 --events events.csv")
WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from eetui.__main__ import main; main()"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder, before = tmp_path_factory.mktemp("wheel"), Path.cwd()
    os.chdir(ROOT)
    try:
        name = hatchling.build_wheel(str(folder))
    finally:
        os.chdir(before)
    return zipfile.ZipFile(folder / name)


def in_tree(*packages: str) -> set[str]:
    """Return the files of packages, as far as they are no leftovers of running them."""
    found = [path for package in packages for path in (ROOT / package).rglob("*") if path.is_file()]
    return {str(path.relative_to(ROOT)) for path in found if path.suffix != ".pyc"}


def test_the_wheel_has_every_file_of_the_packages_and_no_other(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == in_tree("core", "eetui")
    assert {"core/py.typed", "eetui/py.typed", "eetui/eetui.tcss", "core/config/presets/sound.toml"} <= names


def test_the_wheel_s_metadata_say_what_it_is(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    metadata = wheel.read(name).decode()
    assert f"\nVersion: {eetui.__version__}\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert f"version: {eetui.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    said = re.findall(r"Python :: (3\.\d+)", metadata)
    assert said == re.findall(r'"(3\.\d+)"', workflow), "each Python that is named is tested"


def test_the_source_distribution_can_be_tested_and_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    path = tmp_path / hatchling.build_sdist(str(tmp_path))
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "requirements.lock", "mkdocs.yml", ".ci/run", "docs/index.md", "CONTRIBUTING.md"} <= names
    assert in_tree("core", "eetui", "tests", "benchmarks") - names == set()
    assert "runs.db" not in names
    assert path.stat().st_size < 4_000_000


@pytest.fixture
def installed(wheel: zipfile.ZipFile, tmp_path: Path) -> dict[str, str]:
    """Unpack the wheel, as an installer would, and store a few runs; return an environment for it."""
    wheel.extractall(tmp_path / "site")
    make_database(tmp_path / "runs.db")
    return {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "EETUI_DB": str(tmp_path / "runs.db")}


def run(code: str, words: str, environment: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-c", code, *shlex.split(words)]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)


def test_runs_are_read_from_the_wheel_without_torch(installed: dict[str, str], tmp_path: Path) -> None:
    for words in READ:
        done = run(WITHOUT_TORCH, words, installed, tmp_path)
        assert done.returncode == 0, (words, done.stderr)
        assert "loss-1" in done.stdout + done.stderr + "".join(p.read_text() for p in tmp_path.glob("events.csv"))
    where = run("import eetui; print(eetui.__file__)", "", installed, tmp_path)
    assert str(tmp_path / "site") in where.stdout


def test_what_needs_torch_says_so_where_it_is_missing(installed: dict[str, str], tmp_path: Path) -> None:
    hidden = (
        "import sys, importlib.abc\n"
        "class Hides(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch': raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hides())\n"
        "from eetui.__main__ import main; main()"
    )
    done = run(hidden, "run --no-ui --preset quick", installed, tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip() == "eetui: this needs torch, which is not installed here: pip install torch"
    assert done.stdout == ""


def test_doctor_says_what_there_is_without_torch(installed: dict[str, str], tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from eetui.__main__ import main; main()"
    done = run(code, "doctor", installed, tmp_path)
    assert (done.returncode, done.stderr.strip()) == (1, "1 problem found")
    found = {line.split()[0] if line[0] != "!" else line.split()[1] for line in done.stdout.splitlines()}
    assert {"versions", "torch", "disk", "terminal", "database", "schema", "pages", "runs"} <= found
    assert "torch      is not installed: runs are read and compared" in done.stdout


def test_the_forms_for_github_are_yaml() -> None:
    yaml = pytest.importorskip("yaml")
    for path in (ROOT / "CITATION.cff", *(ROOT / ".github").rglob("*.yml")):
        assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict), path
