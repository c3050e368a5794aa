"""Pages about runs: self-contained, whole, and harmless whatever names there are."""

import base64
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from typer.testing import CliRunner

from core.analysis.calibrate_run import calibrate
from core.analysis.calibration_request import CalibrationRequest
from core.analysis.run_quality import run_quality
from core.store.reader import Reader
from eetui.cli.main import app
from eetui.compare.run_view import stored_view
from eetui.compare.sheets import Sheet
from eetui.figures.plot import Plot
from eetui.report import promises
from eetui.report.blocks import Block, Bullets, Commands, Folded, Heading, Paragraph
from eetui.report.content import report
from eetui.report.markdown_page import as_markdown
from eetui.report.page import as_html
from eetui.report.promises import exits_and_promises
from tests.conftest import TINY, TINY_TRAINING, Eetui, set_options
from tests.hostile import ALL, harmful, poison
from tests.trained_run import train_run

pytest.importorskip("matplotlib")
Done = subprocess.CompletedProcess[str]
ATTACK = "</title></style><script>alert(1)</script>\"'&amp; ![x](y) " + ALL
VOID = ("meta", "br", "img")


class Page(HTMLParser):
    """Reads a page: its elements, ids, what it loads, and its text; elements must be closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.ids, self.loads, self.text, self._open = list[str](), list[str](), list[str](), "", list[str]()
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._open += [] if tag in VOID else [tag]
        for name, value in attrs:
            assert not name.startswith("on"), "a script"
            self.ids += [value or ""] if name == "id" else []
            self.loads += [value or ""] if name in ("src", "href", "xlink:href") else []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._open += []
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory, text: Path) -> list[Block]:
    path = tmp_path_factory.mktemp("report") / "runs.db"
    train_run(path, text, method="loss", eval_ratio=0.4)
    poison(path, ATTACK)
    with Reader(path) as reader:
        return list(report(reader, [stored_view(reader, 1)], ["1"], figures=True))


def test_a_page_is_whole_harmless_and_loads_nothing(blocks: list[Block]) -> None:
    html = as_html(blocks)
    page = Page(html)
    assert harmful(html) == []
    assert "script" not in page.tags
    assert page.tags.count("style") == 1
    assert page.tags.count("svg") == page.tags.count("figure") == sum(isinstance(one, Plot) for one in blocks)
    assert len(page.ids) == len(set(page.ids))
    assert all(each.startswith(("data:text/csv;", "#")) for each in page.loads)
    assert {each[1:] for each in page.loads if each.startswith("#")} <= set(page.ids)
    assert "<script>alert(1)</script>" in page.text, "a name, as it is"
    assert "prefers-color-scheme: dark" in html
    assert html == as_html(blocks)


def test_the_numbers_of_each_figure_are_in_the_page(blocks: list[Block]) -> None:
    found = [base64.b64decode(each.partition("base64,")[2]) for each in Page(as_html(blocks)).loads if "base64" in each]
    assert found == [block.csv().encode() for block in blocks if isinstance(block, Plot)]


def test_a_report_says_what_was_trained_with_which_code_and_how_to_do_it_again(blocks: list[Block]) -> None:
    assert [block.text for block in blocks if isinstance(block, Heading) and block.level == 2] == [
        "Results", "Figures", "Exits", "Promises", "Config", "Code and data", "Make it again",
    ]  # fmt: skip
    tables = {row[0]: row[1] for block in blocks if isinstance(block, Sheet) for row in block.rows}
    assert tables["model.dim"] == "8"
    assert {"corpus", "fingerprint", "git_commit", "packages", "python"} <= set(tables)
    calibrate, train, again = (block.lines for block in blocks if isinstance(block, Commands))
    assert list(calibrate) == ["eetui calibrate 1 --max-ppl-increase 1% --delta 0.1"]
    assert train[0].startswith("eetui run ")
    assert list(again) == ["eetui report 1", "eetui compare 1", "eetui plot 1"]
    (whole,) = (block for block in blocks if isinstance(block, Folded) and block.summary == "Whole config")
    (sheet,) = whole.blocks
    assert isinstance(sheet, Sheet)
    assert len(sheet.rows) > len(tables) / 2


def test_promises_are_those_of_calibrate_and_exits_those_of_quality(
    tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "runs.db"
    train_run(path, text, method="loss", eval_ratio=0.4)
    with Reader(path) as reader:
        runs = [(reader.run(1), reader.state(1))]
        found = {block.title: block for block in exits_and_promises(reader, runs) if isinstance(block, Sheet)}
        signal = run_quality(reader, 1).quality.exits[0]
        chosen = calibrate(reader, 1, CalibrationRequest(0.01))
        monkeypatch.setattr(promises, "MOST_JUDGED", 0)
        (only,) = exits_and_promises(reader, runs)
    signals, guaranteed = found.values()
    assert signal.signal is not None
    assert signals.rows[0][1:] == (
        "0", f"{signal.correct.auroc:.3f}", f"{signal.last_no_better.auroc:.3f}", "p(target)",
        f"{signal.signal.error:.4f}",
    )  # fmt: skip
    assert "0.0100 nats (1% of PPL) above all blocks at most, with a probability of 90%" in guaranteed.title
    assert guaranteed.rows[0][2] == f"{chosen.test.ppl_increase:+z.2%}"
    assert isinstance(only, Paragraph)
    assert "more than 0 runs" in only.text


def test_markdown_escapes_what_it_is_given() -> None:
    text = as_markdown(
        [
            Heading(ATTACK, 1),
            Paragraph("a | b"),
            Bullets(["*x*"]),
            Commands(["eetui run ```"]),
            Sheet("", ("key", "value"), (("a|b", "<c>"),)),
        ],
        lambda plot: "",
    )
    assert harmful(text) == []
    assert text.startswith("# \\</title\\>")
    assert "a \\| b" in text
    assert "- \\*x\\*" in text
    assert "````sh\neetui run ```\n````" in text
    assert "| a\\|b | \\<c\\> |" in text


def test_the_command_writes_one_page_or_markdown_with_its_figures(trained: Done, eetui: Eetui, tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    done = eetui("report", "2", "-o", str(page))
    assert (done.returncode, done.stdout.strip()) == (0, str(page)), done.stderr
    assert "experiment 1" in Page(page.read_text()).text
    assert "eetui compare 2 --db " in Page(page.read_text()).text, "it is not the default database"
    refused = eetui("report", "2", "-o", str(page))
    assert (refused.returncode, "is there already: --force" in refused.stderr) == (2, True)
    written = eetui("report", "1", "2", "3", "4", "5", "-o", str(tmp_path / "b (1).md")).stdout.splitlines()
    markdown = (tmp_path / "b (1).md").read_text()
    assert "loss ×2" in markdown
    assert "Figures of single runs are left out" in markdown
    assert str(tmp_path / "b (1)-figures" / "curves.csv") in written
    links = re.findall(r"\]\((b[^) ]+)\)", markdown)
    assert len(links) == 4
    assert all((tmp_path / unquote(link)).is_file() for link in links)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["2", "--format", "pdf"], "--format must be one of html, md, got 'pdf'"),
        (["report:loss"], "name a run"),
        (["2", "-o", "page.pdf"], "pages are written as html or md, not as .pdf"),
        (["2", "-o", "page.html", "--format", "md"], "--output page.html is html, and --format asks for md"),
    ],
)
def test_bad_requests_are_refused(trained: Done, eetui: Eetui, arguments: list[str], message: str) -> None:
    done = eetui("report", *arguments)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_a_whole_sweep_is_made_again_by_one_command_and_a_part_of_it_run_by_run(tmp_path: Path, text: Path) -> None:
    db = tmp_path / "runs.db"
    arguments = ["sweep", "--name", "hr", "-m", "loss", "--set", "hard_ratio=0.3,0.5", "--corpus", str(text), "--print"]
    made = CliRunner().invoke(
        app, ["--db", str(db), *arguments, *set_options(*TINY[:-1], "block_layers=[1,1]", *TINY_TRAINING)]
    )
    assert made.exit_code == 0, made.exception

    def trained(*numbers: int) -> tuple[str, ...]:
        with Reader(db) as reader:
            views = [stored_view(reader, number) for number in numbers]
            found = [block.lines for block in report(reader, views, [], figures=False) if isinstance(block, Commands)]
        return tuple(found[-2])

    (whole,) = trained(1, 2)
    assert whole.startswith("eetui sweep --name hr ")
    assert "--set exit.hard_ratio=0.3,0.5 " in whole
    (part,) = trained(2)
    assert part.startswith("eetui run ")
