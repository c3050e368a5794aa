"""The checkup: a sound database has no problems; each kind of damage is one, and nothing is written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from core.session.checkup import check_checkpoints, check_database
from core.session.prepare import Prepared
from core.session.run import run_experiment
from core.store.files import checkpoint_folder
from core.store.writer import Writer
from tests.core.session.listeners import ignore
from tests.core.store.recorded import execute


@pytest.fixture
def trained(writer: Writer, path: Path, queue: Callable[..., Prepared]) -> Path:
    prepared = queue("loss", "distill")
    execute(path, "UPDATE runs SET record = json_set(record, '$.fingerprint', 'fingerprint')")
    assert run_experiment(prepared, writer, ignore) == ["finished", "finished"]
    writer.close()
    return path


def problems(path: Path) -> list[str]:
    return [one.text for one in [*check_database(path), *check_checkpoints(path)] if not one.sound]


def contents(path: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in path.parent.rglob("*") if file.is_file()}


def test_what_is_sound_has_no_problem_and_nothing_is_written(trained: Path) -> None:
    before = contents(trained)
    assert problems(trained) == []
    assert contents(trained) == before
    said = [one.text for one in check_database(trained)]
    assert "2 finished" in said


def test_each_damage_is_a_problem_that_is_named(trained: Path) -> None:
    execute(trained, "UPDATE events SET data = '{' WHERE run_id = 1 AND seq = 2")
    execute(trained, "UPDATE runs SET record = '[' WHERE id = 2")
    weights = checkpoint_folder(trained, 1) / "block0.lm.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    checkpoint_folder(trained, 7).mkdir()
    found = problems(trained)
    assert any("run 1: entry 2 (StageStarted) can't be read" in text for text in found)
    assert any("run 2: record can't be read" in text for text in found)
    assert any("run 1: block0.lm: it is damaged" in text for text in found)
    assert any("run 2: without its config or its record" in text for text in found)
    assert any(text.endswith("7 is of no run") for text in found)
    assert len(found) == 5


def test_a_file_that_is_cut_short_or_somebody_else_s_is_one_problem(trained: Path, tmp_path: Path) -> None:
    trained.write_bytes(trained.read_bytes()[:20_000])
    assert [text for text in problems(trained) if "is damaged" in text and "eetui doctor --repair" in text]
    other = tmp_path / "other.db"
    execute(other, "CREATE TABLE songs (title)")
    (text,) = problems(other)
    assert "of another program" in text


def test_what_is_not_there_is_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path / "missing.db") == []
