"""The embedded corpus: docstrings and topics, in an order that follows nothing but their names."""

from pathlib import Path

import pytest

from core.data.readers.pydocs import build_text, pydocs_text

FILES = {
    "alpha.py": '"""Alpha."""\n\n\ndef f():\n    """F of alpha."""\n',
    "package/__init__.py": '"""Package."""\n',
    "package/beta.py": (
        'class B:\n    """B."""\n\n    async def g(self):\n        """\n        G of\n        beta.\n        """\n'
    ),
    "silent.py": "x = 1\n",
}


def library(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return root


def documents(text: str) -> list[str]:
    return text.split("\n\n")


def test_topics_and_docstrings_are_all_there(tmp_path: Path) -> None:
    text = build_text({"if": "The if statement."}, library(tmp_path, FILES))
    expected = ["Alpha.", "F of alpha.", "Package.", "B.", "G of\nbeta.", "The if statement."]
    assert sorted(documents(text)) == sorted(expected)


def test_docstrings_of_a_file_stay_together_in_the_order_of_its_lines(tmp_path: Path) -> None:
    source = (
        '"""One."""\n\n\nclass A:\n    """Two."""\n\n    def f(self):\n        """Three."""\n\n\n'
        'def g():\n    """Four."""\n'
    )
    assert documents(build_text({}, library(tmp_path, {"a.py": source}))) == ["One.", "Two.", "Three.", "Four."]


def test_the_order_of_creation_does_not_matter(tmp_path: Path) -> None:
    topics = {"b": "Topic b.", "a": "Topic a.", "c": "Topic c."}
    forward = build_text(topics, library(tmp_path / "1", FILES))
    backward = build_text(dict(reversed(topics.items())), library(tmp_path / "2", dict(reversed(FILES.items()))))
    assert forward == backward


def test_installed_packages_and_tests_are_left_out(tmp_path: Path) -> None:
    excluded = ["site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test", "pydoc_data"]
    files = {f"{folder}/m.py": '"""Left out."""' for folder in excluded}
    files |= {f"deep/{folder}/m.py": '"""Left out."""' for folder in excluded}
    files |= {"test.py": '"""A file named test stays."""', "notes.txt": '"""No Python."""'}
    assert build_text({}, library(tmp_path, files)) == "A file named test stays."


def test_a_file_that_cannot_be_parsed_is_skipped(tmp_path: Path) -> None:
    root = library(tmp_path, {"good.py": '"""Good."""', "bad.py": '"""Bad."""\ndef f(:\n'})
    (root / "nul.py").write_bytes(b'"""Nul."""\n\0')
    (root / "latin.py").write_bytes(b'"""Caf\xe9."""\n')
    (root / "folder.py").mkdir()
    assert build_text({}, root) == "Good."


def test_a_file_that_python_would_warn_about_is_read_silently(tmp_path: Path) -> None:
    assert build_text({}, library(tmp_path, {"a.py": '"""Bad \\d escape."""\nx = 1 is 1\n'})) == "Bad \\d escape."


def test_half_a_surrogate_pair_becomes_a_question_mark(tmp_path: Path) -> None:
    assert build_text({}, library(tmp_path, {"a.py": '"""Half \\ud800."""\n'})) == "Half ?."


@pytest.mark.soak
def test_this_pythons_documentation_is_large_and_comes_from_the_cache_the_second_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = pydocs_text()
    assert len(text.split()) > 200_000
    monkeypatch.setattr("core.data.readers.pydocs.build_text", None)
    assert pydocs_text() == text


def test_a_damaged_cached_text_is_built_again_and_replaced(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.data.readers.pydocs.build_text", lambda topics, library: "built")
    assert pydocs_text() == "built"
    (stored,) = cache.iterdir()
    whole = stored.read_bytes()
    stored.write_bytes(whole.replace(b"built", b"bulit"))
    assert pydocs_text() == "built"
    assert stored.read_bytes() == whole
