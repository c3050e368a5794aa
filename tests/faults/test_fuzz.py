"""Ten thousand generated inputs, the same in every run: never an error but the package's own, outputs always sound.

Each part draws from alphabets of what breaks parsers: controls, halves of characters, brackets, digits without end.
"""

import contextlib
import csv
import io
import json
import random
from pathlib import Path

import pytest

from core.config.run_config import Layer, build, fields, preset_layer, set_layer
from core.data.readers.files import read_files
from core.data.tokenizers import WordVocabulary
from core.errors import EetuiError
from core.session.names import require_name, require_plain, require_tag
from core.store import codec
from core.store.reader import Reader
from eetui.drawing.cells import fitted
from eetui.drawing.formats import csv_text, json_text, markdown
from eetui.drawing.harmless import harmless, lines, one_line, same_width, styled
from eetui.runs.export_text import FORMATS
from eetui.runs.filters import SORTS, parse
from eetui.runs.list_text import runs_json, runs_lines
from tests.hostile import ATTACKS, harmful
from tests.scripted_runs import make_database, scripted

PIECES = (
    *ATTACKS, "\ud800", "\udcff", "[", "]", "{", "}", "(", ")", '"', "'", ",", ":", "=", "<", ">", "<=", "%", "9" * 400,
    "-", "+", ".", "e", "nan", "inf", "1e999", "0x", "_", " ", "\t", "\r", "\\", "/", "..", "~", "*", "?", "#", "true",
    "train.lr", "ppl", "tag", "method", "status", "loss", "seed", "日本", "🙂", "e\u0301", "\U0010ffff", "0", "1", "٣",
)  # fmt: skip


def text(draw: random.Random, most: int = 8) -> str:
    return "".join(draw.choice(PIECES) for _ in range(draw.randint(0, most)))


def value(draw: random.Random, depth: int = 0) -> object:
    kinds = ["text", "int", "float", "bool", "none", *(["list", "map"] if depth < 3 else [])]
    match draw.choice(kinds):
        case "text":
            return text(draw)
        case "int":
            return draw.choice([0, 1, -1, 2, 64, 2**31, 2**63, -(2**63), 10**30, draw.randint(-9, 999)])
        case "float":
            return draw.choice([0.0, -0.0, 1e308, -1e-320, float("inf"), float("nan"), draw.random()])
        case "bool":
            return draw.random() < 0.5
        case "none":
            return None
        case "list":
            return [value(draw, depth + 1) for _ in range(draw.randint(0, 3))]
        case _:
            return {text(draw, 3): value(draw, depth + 1) for _ in range(draw.randint(0, 3))}


def refused(work: object, *arguments: object) -> str:
    """Call a function; return the message of the package's own error, which is of bounded length, or nothing."""
    assert callable(work)
    message = ""
    try:
        work(*arguments)
    except EetuiError as error:
        message = str(error)
    assert len(message) < 10_000
    assert harmful(lines(message)) == []
    return message


def test_config_values() -> None:
    draw, names, base = random.Random(1), [*fields()], preset_layer("quick")
    for _ in range(1500):
        refused(build, [base, Layer("a test", {draw.choice([*names, text(draw)]): value(draw)})])


def test_assignments() -> None:
    draw, names, base = random.Random(2), [*fields()], preset_layer("quick")
    for _ in range(1500):
        name = draw.choice([*names, text(draw)])
        refused(
            lambda word: build([base, set_layer(word)]), f"{name}={text(draw)}" if draw.random() < 0.9 else text(draw)
        )


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(make_database(tmp_path_factory.mktemp("fuzz") / "runs.db"))


def encodable(word: str) -> str:
    """Return the word as the command line lets it through."""
    return word.encode(errors="ignore").decode()


def test_filters_and_sort_keys(reader: Reader) -> None:
    draw = random.Random(3)
    for _ in range(1500):
        words = [encodable(text(draw, 5)) for _ in range(draw.randint(0, 3))]
        words += [f"{draw.choice([*SORTS])}{draw.choice(['<', '>=', '=', ':'])}{encodable(text(draw, 2))}"]
        sort = draw.choice([*SORTS, encodable(text(draw, 2))])
        refused(lambda words, sort: reader.runs(parse(words, sort)), words, sort)


def test_run_references_and_names(reader: Reader) -> None:
    draw = random.Random(4)
    for _ in range(1000):
        word = encodable(text(draw, 4))
        for find in (reader.find, reader.find_whole, reader.find_deleted):
            refused(find, word)
        for require in (require_name, require_tag, require_plain):
            if not refused(require, "it", word):
                assert harmful(word.replace("\u3164", "").replace("\t", "")) == []


def test_written_data() -> None:
    draw = random.Random(5)
    for _ in range(1500):
        data, row = value(draw), [text(draw), draw.random() - 0.5, text(draw)]
        found = json_text(data)
        json.loads(found, parse_constant=pytest.fail)
        assert found.isascii()
        assert harmful(found) == []
        (read,) = csv.reader(io.StringIO(csv_text([row]), newline=""))
        assert [read[0].removeprefix("'"), float(read[1])] == [str(row[0]).removeprefix("'"), row[1]]
        assert not read[2].lstrip(" ").startswith(("=", "@"))
        assert harmful(markdown(str(row[0]))) == []
        assert "\n" not in markdown(str(row[0]))


def test_the_sanitiser() -> None:
    draw = random.Random(6)
    for _ in range(1500):
        word, width = text(draw, 20), draw.randint(0, 30)
        for made in (harmless, one_line, lines):
            assert harmful(made(word)) == []
            assert made(made(word)) == made(word)
        assert harmful(styled(word), coloured=True) == []
        assert [one for one in harmful(same_width(word).replace("\u3164", "")) if one != "\u200d"] == []
        assert harmful(fitted(word, width)) == []


def test_corpora(tmp_path: Path) -> None:
    draw = random.Random(7)
    for number in range(700):
        suffix = draw.choice([".txt", ".jsonl", ".gz", ".jsonl.gz"])
        content = draw.randbytes(draw.randint(0, 40)) if draw.random() < 0.4 else text(draw).encode(errors="replace")
        mark = draw.choice([b"", b"", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\x1f\x8b", b"PAR1"])
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(mark + content)
        refused(lambda path: [*WordVocabulary([found := read_files(str(path))]).encode(found)], path)


def test_stored_rows() -> None:
    draw = random.Random(8)
    rows = [*codec.encode(scripted())]
    for _ in range(1500):
        kind, data = draw.choice(rows)
        if draw.random() < 0.5:
            at = draw.randrange(len(data))
            data = data[:at] + draw.choice(["", text(draw, 2), "null", "1e999"]) + data[at + draw.randint(0, 9) :]
        else:
            stored = json.loads(data)
            stored[draw.choice([*stored, text(draw, 1)])] = value(draw)
            data = json.dumps(stored)
        with contextlib.suppress(codec.UnreadableError):
            assert all(map(codec.is_well_formed, codec.checked((draw.choice([kind, kind, text(draw, 1)]), data))))


def test_lists_of_hostile_runs(reader: Reader) -> None:
    draw, rows = random.Random(9), reader.runs()
    for _ in range(150):
        hostile = [{**row, "name": one_line(text(draw)), "tags": one_line(text(draw))} for row in rows]
        for width in (draw.randint(20, 300),):
            assert harmful("\n".join(runs_lines(hostile, width, colour=False))) == []
        raw = [{**row, "name": text(draw), "tags": text(draw), "error": text(draw)} for row in rows]
        assert json.loads(runs_json(raw))[0]["name"] == raw[0]["name"]
        assert harmful(FORMATS["md"](raw)) == []
        assert len([*csv.reader(io.StringIO(FORMATS["csv"](raw), newline=""))]) == len(raw) + 1
