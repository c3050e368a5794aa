"""Reads of the list of runs: pages, positions, marks, deletions, live states."""

import dataclasses
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from core.errors import ConfigError
from core.session.names import require_name, require_plain, require_tag
from core.store.reader import Query, Reader
from core.store.writer import Writer
from eetui.console.marks import MARK_LIMIT, drop_the_gone, mark_all, toggle
from eetui.runs.filters import parse, without_the_unfinished
from eetui.runs.pages import PAGE_ROWS, PAGES_KEPT, RunPages
from eetui.runs.standing import LiveStates
from tests.scripted_runs import add, append, make_database, many_runs, scripted, until

COUNT, ALL = 2_500, Query()


class CountingReader(Reader):
    """A reader that records how many rows each query gave."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.fetched: list[int] = []

    def runs(self, query: Query = ALL) -> list[dict[str, object]]:
        rows = super().runs(query)
        self.fetched.append(len(rows))
        return rows


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = many_runs(tmp_path_factory.mktemp("many") / "runs.db", COUNT)
    # some without figures, many with equal ones, some infinite
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE runs SET final_ppl = NULL WHERE id % 7 = 0")
        connection.execute("UPDATE runs SET final_ppl = 9e999 WHERE id % 11 = 0")
    connection.close()
    return path


@pytest.fixture
def reader(many: Path) -> Iterator[CountingReader]:
    with CountingReader(many) as opened:
        yield opened


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("column", ["id", "name", "method", "final_ppl", "accuracy", "seconds"])
def test_a_run_is_found_at_the_place_where_its_row_is(reader: CountingReader, column: str, descending: bool) -> None:
    query = dataclasses.replace(parse(["method:loss"]), order_by=column, descending=descending)
    order = [row["id"] for row in reader.runs(query)]
    pages = RunPages(reader)
    pages.show(query)
    assert pages.count == len(order) > PAGE_ROWS
    for place in (0, 1, 99, 100, 101, 500, len(order) - 1):
        row = pages.row(place)
        assert row is not None
        assert row["id"] == order[place]
        assert pages.position(order[place]) == place


def test_a_run_that_the_query_does_not_find_has_no_place(reader: CountingReader) -> None:
    pages = RunPages(reader)
    pages.show(parse(["method:loss"]))
    assert pages.position(1) is None
    assert pages.position(COUNT + 1) is None


def test_rows_come_a_page_at_a_time_and_only_once(reader: CountingReader) -> None:
    pages = RunPages(reader)
    pages.show(Query())
    for index in range(2 * PAGE_ROWS):
        pages.row(index)
    assert reader.fetched == [PAGE_ROWS, PAGE_ROWS]


def test_pages_not_looked_at_lately_are_forgotten(reader: CountingReader) -> None:
    pages = RunPages(reader)
    pages.show(Query())
    for page in range(PAGES_KEPT):
        pages.row(page * PAGE_ROWS)
    pages.row(0)  # used again, so the second page is dropped first
    pages.row(PAGES_KEPT * PAGE_ROWS)
    assert len(reader.fetched) == PAGES_KEPT + 1
    pages.row(0)
    assert len(reader.fetched) == PAGES_KEPT + 1
    pages.row(PAGE_ROWS)
    assert len(reader.fetched) == PAGES_KEPT + 2


def test_there_is_nothing_beyond_the_ends(reader: CountingReader) -> None:
    pages = RunPages(reader)
    assert pages.row(0) is None
    pages.show(Query())
    assert pages.row(-1) is None
    assert pages.row(COUNT) is None
    assert reader.fetched == []


# Filter


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", ""),
        ("s", ""),
        ("soft", "soft"),
        ("loss sta", "loss "),
        ("loss status:", "loss "),
        ("loss status:fin", "loss "),
        ("loss status:finished", "loss status:finished"),
        ("loss status:other", "loss status:other"),
        ("ppl", ""),
        ("ppl ", "ppl "),
        ("ppl<2", "ppl<2"),
        ("tag:", ""),
        ("tag:x", "tag:x"),
    ],
)
def test_a_word_that_may_only_have_begun_waits(text: str, kept: str) -> None:
    assert without_the_unfinished(text) == kept


# Marks


def test_marks_come_and_go_and_keep_their_order() -> None:
    marks: dict[int, None] = {}
    for run in (3, 1, 2, 1):
        toggle(marks, run)
    assert list(marks) == [3, 2]


def test_all_that_is_shown_is_marked_up_to_a_limit(reader: CountingReader) -> None:
    marks = {2: None}
    mark_all(marks, reader, parse(["method:loss"]))
    assert len(marks) == MARK_LIMIT + 1
    assert list(marks)[:3] == [2, 3, 6]


def test_marks_of_deleted_runs_are_dropped(tmp_path: Path) -> None:
    path = make_database(tmp_path / "runs.db")
    marks = {1: None, 99: None, 2: None}
    with Reader(path) as reader, Writer(path) as writer:
        writer.delete(2)
        drop_the_gone(marks, reader)
    assert list(marks) == [1]


# Live states


def test_a_live_state_follows_its_log_and_equals_the_whole_of_it(tmp_path: Path) -> None:
    path, events = tmp_path / "runs.db", list(scripted())
    with Writer(path) as writer:
        run = add(writer, events[:10])
        with Reader(path) as reader:
            states = LiveStates(reader)
            assert states.state(run).stages[0].step == 2  # after two lines, five steps and an epoch
            done = 10
            for end in (14, 15, 40, len(events)):
                append(writer, run, events[done:end], events[:done])
                done = end
                state = states.state(run)
            assert state.stages[0].history == reader.state(run).stages[0].history
            assert state.final == reader.state(run).final
            states.keep([])
            assert states.state(run).status == "finished"


def test_a_resumed_run_starts_its_progress_anew(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with Writer(path) as writer, Reader(path) as reader:
        run = add(writer, until(scripted(), "block0.lm", 3))
        states = LiveStates(reader)
        assert len(states.state(run).stages[0].history) == 3
        append(writer, run, until(scripted(), "block0.lm", 1))
        assert len(states.state(run).stages[0].history) == 1


# Names and tags


def test_tags_come_off_again(tmp_path: Path) -> None:
    path = make_database(tmp_path / "runs.db")
    with Writer(path) as writer, Reader(path) as reader:
        writer.tag(1, ["good", "better"])
        writer.untag(1, ["tiny", "good", "unknown"])
        assert reader.run(1)["tags"] == ["better"]
        assert reader.run(2)["tags"] == ["tiny"]


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "\x1b[31m", "x" * 201])
def test_what_can_not_be_shown_is_no_name(text: str) -> None:
    for require in (require_plain, require_name, require_tag):
        with pytest.raises(ConfigError, match="the thing must be 1 to 200 printable"):
            require("the thing", text)


def test_a_name_is_no_number_and_a_tag_one_word() -> None:
    require_name("the name", "loss 2, again")
    require_tag("a tag", "good")
    for text in ("12", "report:loss"):
        with pytest.raises(ConfigError, match="the name must not be a number"):
            require_name("the name", text)
    with pytest.raises(ConfigError, match="a tag must be one word"):
        require_tag("a tag", "two words")
