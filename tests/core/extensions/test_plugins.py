"""Users' own extensions: how they are named, found, pinned to their content, and loaded."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import ConfigError
from core.extensions import plugins
from core.extensions.kinds import CORPUS_READERS, EXIT_METHODS
from core.extensions.plugins import (
    PIN,
    PluginError,
    find,
    installed,
    is_path,
    load,
    pinned,
    short_name,
    unpinned,
    with_short_hashes,
)
from tests.packages import install

SOURCE = "EXIT = 'something'\n"
DIGEST = hashlib.sha256(SOURCE.encode()).hexdigest()


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that offers `theirs`, in a module of a package that must not be imported to find it."""
    files = {
        "theirs_eetui/__init__.py": "raise AssertionError('finding a module imports no package')",
        "theirs_eetui/method.py": SOURCE,
    }
    folder = install(tmp_path / "site", "theirs-eetui", files, {"eetui.exits": {"theirs": "theirs_eetui.method"}})
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.mark.parametrize(
    ("reference", "path", "name"),
    [
        ("loss", False, "loss"),
        ("mine.py", True, "mine"),
        ("./mine", True, "mine"),
        ("/a/b c/mine.py", True, "mine"),
        (f"/a/mine.py{PIN}{DIGEST}", True, "mine"),
        (f"theirs{PIN}{DIGEST}", False, "theirs"),
    ],
)
def test_a_reference_is_a_path_if_it_looks_like_one(reference: str, path: bool, name: str) -> None:
    assert is_path(reference) == path
    assert short_name(reference) == name


def test_hashes_are_shown_by_their_first_digits() -> None:
    long = f"hf:some/model{PIN}{DIGEST}&tokenizer={'0' * 64}"
    assert with_short_hashes(long) == f"hf:some/model{PIN}{DIGEST[:8]}…&tokenizer=00000000…"
    assert with_short_hashes("model.py 0.001") == "model.py 0.001"


def test_a_file_is_pinned_to_its_place_and_content(mine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = f"{mine}{PIN}{DIGEST}"
    for written in ("mine.py", "./mine.py", str(mine), "~/mine.py", expected):
        assert pinned(EXIT_METHODS, written) == expected
    assert unpinned(expected) == str(mine)
    assert pinned(EXIT_METHODS, "loss") == "loss"
    plugin = find(EXIT_METHODS, expected)
    assert plugin.record == {"name": "mine", "file": str(mine), "sha256": DIGEST}
    assert load(plugin) == "something"


def test_an_entry_point_is_pinned_to_its_name_and_content_without_importing_it(package: Path) -> None:
    assert list(installed(EXIT_METHODS)) == ["theirs"]
    assert installed(CORPUS_READERS) == {}
    reference = pinned(EXIT_METHODS, "theirs")
    assert reference == f"theirs{PIN}{DIGEST}"
    plugin = find(EXIT_METHODS, reference)
    file = str(package / "theirs_eetui" / "method.py")
    assert plugin.record == {"name": "theirs", "file": file, "sha256": DIGEST, "package": "theirs-eetui 1.2"}
    assert load(plugin) == "something"


def test_an_entry_point_may_name_its_attribute_and_import_its_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "near_eetui/__init__.py": "",
        "near_eetui/deep/__init__.py": "",
        "near_eetui/deep/method.py": "from . import helper\nfrom ..other import END\nOWN = helper.START + END\n",
        "near_eetui/deep/helper.py": "START = 'some'\n",
        "near_eetui/other.py": "END = 'thing'\n",
    }
    entries = {"eetui.exits": {"near": "near_eetui.deep.method:OWN"}}
    monkeypatch.syspath_prepend(install(tmp_path / "site", "near-eetui", files, entries))
    assert load(find(EXIT_METHODS, pinned(EXIT_METHODS, "near"))) == "something"


def test_a_built_in_name_is_the_built_in_whatever_a_package_offers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {"eetui.exits": {"loss": "shadow_eetui"}}
    monkeypatch.syspath_prepend(install(tmp_path / "site", "shadow-eetui", {"shadow_eetui.py": SOURCE}, entries))
    assert "loss" not in installed(EXIT_METHODS)
    assert pinned(EXIT_METHODS, "loss") == "loss"


def test_what_can_not_be_had_says_why(tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loss.py").write_text(SOURCE)
    (tmp_path / "\x1b[31m.py").write_text(SOURCE)
    entries = {"eetui.exits": {"theirs": "other_eetui", "gone": "other_eetui.gone", "compiled": "math"}}
    for place, reason in (
        ("none.py", r"must be a file that can be read \(No such file or directory\)"),
        (".", "must be one of agree, correct"),
        ("./", r"must be a file that can be read \(Is a directory\)"),
        ("loss.py", "must not be called like the built-in loss: rename the file"),
        ("./\x1b[31m.py", "must have a printable name"),
        ("nothing", r"must be one of agree, .*, theirs, or the path of your own file \(docs/exits.md\)"),
        (f"theirs{PIN}12", "64 hexadecimal digits"),
    ):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(PluginError, match=reason):
            pinned(EXIT_METHODS, place)
    monkeypatch.syspath_prepend(install(tmp_path / "more", "other-eetui", {"other_eetui.py": SOURCE}, entries))
    for name, reason in (
        ("theirs", "must be of one package, and other-eetui 1.2 and theirs-eetui 1.2 both offer it: uninstall one"),
        ("gone", "must be a module that is there, and other-eetui 1.2 has no file for other_eetui.gone"),
        ("compiled", "has no file for math"),
    ):
        with pytest.raises(PluginError, match=reason):
            pinned(EXIT_METHODS, name)


def test_a_pinned_file_that_changed_or_vanished_is_refused(mine: Path) -> None:
    reference = pinned(EXIT_METHODS, str(mine))
    mine.write_text(SOURCE + "# more\n")
    with pytest.raises(ConfigError, match=rf"exit method mine has changed: .*asks for {DIGEST[:8]}…; restore the file"):
        find(EXIT_METHODS, reference)
    mine.unlink()
    with pytest.raises(ConfigError, match=r"exit method mine must be a file that can be read .*: restore it, or start"):
        find(EXIT_METHODS, reference)
    assert pinned(EXIT_METHODS, reference) == reference, "a stored config can be read whatever became of the file"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("x = 1\ny = = 2\n", "mine.py:2: SyntaxError: invalid syntax"),
        ("\nimport nowhere_to_be_found\n", "mine.py:2: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("def f():\n    return 1 / 0\nf()\n", "mine.py:2: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)\n", "mine.py:2: SystemExit: 3"),
        ("from . import other\n", "mine.py:1: ImportError: attempted relative import"),
        ("x = '\xff'\n", "mine.py:1: SyntaxError"),
        ("x = 1\n", "mine.py: there is no EXIT: end it with EXIT = …"),
    ],
)
def test_what_does_not_run_says_where_and_why(mine: Path, source: str, reason: str) -> None:
    mine.write_bytes(source.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        load(find(EXIT_METHODS, str(mine)))
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"exit method mine can't be used: {mine}")
    assert str(caught.value).endswith("(docs/exits.md)")


def test_a_plugin_may_define_dataclasses(mine: Path) -> None:
    lines = ("from __future__ import annotations", "from dataclasses import dataclass", "@dataclass", "class Mine:")
    mine.write_text("\n".join([*lines, "    a: int = 1", "EXIT = Mine()", ""]))
    assert load(find(EXIT_METHODS, str(mine))).a == 1


def test_finding_a_plugin_imports_no_torch(package: Path, mine: Path) -> None:
    code = (
        "import sys\nfrom core.config.run_config import RunConfig\n"
        f"print(RunConfig(method='theirs').method_name, RunConfig(method={str(mine)!r}).method_name)\n"
        "assert not {'torch', 'theirs_eetui'} & set(sys.modules)"
    )
    path = os.pathsep.join([str(Path(plugins.__file__).parents[2]), str(package)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "theirs mine\n"
