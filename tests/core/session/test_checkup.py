"""The checkup: a sound database has no problems; each kind of damage is one, and nothing is written."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from core.backbones.state_cache import caches_folder
from core.session.checkup import check_checkpoints, check_states
from core.session.prepare import Prepared
from core.session.run import run_experiment
from core.store.checkup import check_database
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


def test_cached_states_are_counted_and_half_written_ones_are_a_problem() -> None:
    for name in ("a", "b", ".c"):
        folder = caches_folder() / name
        folder.mkdir(parents=True)
        (folder / "block0.f16").write_bytes(bytes(1 << 20))
    os.utime(caches_folder() / ".c" / "block0.f16", (1e9, 1e9))
    os.utime(caches_folder() / ".c", (1e9, 1e9))
    kept, partial = check_states()
    assert kept.sound
    assert kept.text.startswith("2 texts of pretrained models, 2.0 MiB of at most")
    assert not partial.sound
    assert partial.text.startswith("1 half written by runs that were killed, 1.0 MiB")
