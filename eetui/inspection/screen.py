"""Into one run, token by token: what if its thresholds were others?

Nothing is computed by the model here. All comes from what the store keeps of every evaluated token.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from core.errors import EetuiError, UsageError
from eetui.console.dialogs import Prompt, Question
from eetui.console.run_actions import RunActions
from eetui.console.screen import BenchScreen
from eetui.drawing.steady_footer import SteadyFooter
from eetui.drawing.steady_text import SteadyText
from eetui.inspection.diagnosis_panel import DiagnosisPanel

if TYPE_CHECKING:  # numpy: imported when the screen opens
    from eetui.inspection.study import Study
    from eetui.inspection.token_layout import SearchableText

LOW = 38
"""Height of a screen, in rows, below which the signal view has no room for more."""
FIGURES = {"text": "tokens", "curve": "savings_of_run", "signal": "reliability", "where": "waterfall"}
"""Figures of a run that are drawn for a paper, by the words that choose them."""
STEP, RATE, VIEW = (Binding.Group(name, compact=True) for name in ("Move", "Rate", "View"))
HELP = """Every evaluated token went through every block once, and the store keeps what each block said of it. So the \
thresholds can be moved here and the figures follow, without the model. They suppose that every token goes on through \
all blocks: in the run itself, tokens that left reach the later blocks as they entered the block they left, so what \
was measured may differ from what is worked out here at the same threshold; both are shown, with their difference.

The arrow keys move the threshold of one exit, or the price from which the thresholds of all exits follow (p): nats \
for the cost of the whole model, at which a token leaves where going on costs more than it is expected to save. The \
figure beside it is the loss above that of the static depths at the same savings, with its 95% interval over windows.

The text is what the model read; a token looks like the block at which it leaves, and is bold where the next token was \
predicted right. Each window of the text is read on its own.

The diagnosis leads from the PPL seen in training to that of early exit, one change at a time. What it did to the last \
block to train without context is measured with the model, while you look.

e draws a figure of the run for a paper, with its numbers beside it."""


class InspectScreen(BenchScreen):
    """The thresholds of one run, the figures that follow from them, and the text."""

    HELP_TEXT = HELP
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (130, "-wide")]  # noqa: RUF012  # declared by Textual
    VERTICAL_BREAKPOINTS = [(0, "-low"), (LOW, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "left",
            "move(-0.01)",
            "−",
            group=STEP,
            id="inspect.down",
            tooltip="Threshold down by 0.01, or price by a tenth",
        ),
        Binding(
            "right", "move(0.01)", "+", group=STEP, id="inspect.up", tooltip="Threshold up by 0.01, or price by a tenth"
        ),
        Binding(
            "shift+left",
            "move(-0.001)",
            show=False,
            id="inspect.down_little",
            tooltip="Threshold down by 0.001, or price by 2%",
        ),
        Binding(
            "shift+right",
            "move(0.001)",
            show=False,
            id="inspect.up_little",
            tooltip="Threshold up by 0.001, or price by 2%",
        ),
        Binding("p", "price", "Price", id="inspect.price", tooltip="Move the price of all exits, or one threshold"),
        Binding("less_than_sign", "move_rate(-0.01)", "−", group=RATE, id="inspect.rate_down", tooltip="Exit rate −1%"),
        Binding("greater_than_sign", "move_rate(0.01)", "+", group=RATE, id="inspect.rate_up", tooltip="Exit rate +1%"),
        Binding(
            "left_square_bracket", "exit(-1)", show=False, id="inspect.exit_before", tooltip="Move the exit before"
        ),
        Binding("right_square_bracket", "exit(1)", show=False, id="inspect.exit_after", tooltip="Move the next exit"),
        Binding("0", "own", "Own", id="inspect.own", tooltip="Back to the run's own thresholds"),
        Binding("d", "diagnosis", "Where", id="inspect.diagnosis", tooltip="Show or hide where the perplexity went"),
        Binding("w", "generate", "Write", show=False, id="inspect.generate", tooltip="Let the run write a text"),
        Binding("e", "export", "Export", show=False, id="inspect.export", tooltip="Draw a figure of the run to a file"),
        Binding("slash", "search", "Find", key_display="/", id="inspect.search", tooltip="Search the text"),
        Binding("ctrl+n", "again(1)", show=False, id="inspect.search_next", tooltip="Next place of what was searched"),
        Binding("N", "again(-1)", show=False, id="inspect.search_before", tooltip="Place before of what was searched"),
        Binding(
            "t", "too_early(1)", "Early", show=False, id="inspect.too_early", tooltip="Next token that left too early"
        ),
        Binding(
            "T", "too_early(-1)", show=False, id="inspect.too_early_before", tooltip="Token before, left too early"
        ),
        Binding("1", "view('text')", "Text", group=VIEW, id="inspect.text", tooltip="Show the text"),
        Binding("2", "view('blocks')", "Blocks", group=VIEW, id="inspect.blocks", tooltip="Show figures by block"),
        Binding(
            "3",
            "view('curve')",
            "Curve",
            group=VIEW,
            id="inspect.curve",
            tooltip="Show PPL by exit rate, or by savings",
        ),
        Binding(
            "4", "view('signal')", "Signal", group=VIEW, id="inspect.signal", tooltip="Show what the signal is worth"
        ),
    ]
    CSS = """
    InspectScreen {
        #title { height: 1; background: $panel; padding: 0 1; }
        #sentence { padding: 1 2; display: none; }
        #figures { height: auto; padding: 0 1; }
        #body { height: 1fr; }
        #reading, #side { width: 1fr; display: none; }
        #side > * { padding: 0 1; display: none; }
        #legend { height: auto; padding: 0 1; background: $surface; }
        TokenText { padding: 0 0 0 1; }
        #token { height: auto; padding: 0 1; background: $surface; }
        #blocks, #quality { height: auto; margin-bottom: 1; }
        #side > #histogram { height: 1fr; max-height: 17; padding: 0 1 1 1; }
    }
    InspectScreen.-empty {
        #body, #figures { display: none; }
        #sentence { display: block; }
    }
    InspectScreen DiagnosisPanel { display: none; }
    InspectScreen.-diagnosis { #body, #figures { display: none; } DiagnosisPanel { display: block; } }
    InspectScreen.-diagnosis.-tall #figures { display: block; }
    InspectScreen.-view-text #reading { display: block; }
    InspectScreen.-view-blocks { #side, #blocks, #histogram { display: block; } }
    InspectScreen.-view-curve { #side, #curve { display: block; } }
    InspectScreen.-view-signal { #side, #quality { display: block; } }
    InspectScreen.-wide.-tall {
        #reading, #side, #blocks, #histogram, #curve { display: block; }
        #side { border-left: vkey $panel; max-width: 84; }
    }
    InspectScreen.-wide.-tall.-view-signal { #histogram { display: none; } #quality { display: block; } }
    """

    def __init__(self, run: int) -> None:
        super().__init__(classes="-view-text -empty")
        self.run = run
        self.study: Study | None = None
        self.view = "text"
        self._searched = ""
        self._searchable: SearchableText | None = None

    def compose(self) -> ComposeResult:
        from eetui.inspection.side import StudySide
        from eetui.inspection.token_text import TokenText

        yield Static(id="title", markup=False)
        yield Static(id="sentence", markup=False)
        yield SteadyText(id="figures")
        with Horizontal(id="body"):
            with Vertical(id="reading"):
                yield SteadyText(id="legend")
                yield TokenText(id="text")
                yield SteadyText(id="token")
            yield StudySide(id="side")
        yield DiagnosisPanel()
        yield SteadyFooter()

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _: self._show())

    def update(self) -> None:
        """Once the statistics are there, they stay as they are."""
        if self.study is not None:
            return
        from eetui.inspection.study import load

        name = f"run {self.run}"
        try:
            row = self.bench.reader.run(self.run)
            name = row["name"]
            self.study = load(self.bench.reader, row)
        except EetuiError as error:
            self._explain(name, str(error))
        else:
            self._open(row, self.study)

    def _explain(self, name: str, reason: str) -> None:
        self.query_one("#title", Static).update(Text.assemble(("Inspect ", "bold"), name))
        self.query_one("#sentence", Static).update(reason)

    def _open(self, row: "Mapping[str, Any]", study: "Study") -> None:
        from eetui.inspection.text import title
        from eetui.inspection.token_text import TokenText

        self.remove_class("-empty")
        self.query_one("#title", Static).update(title(row, study))
        text = self.query_one(TokenText)
        text.show(study.table.inputs, study.looks)
        text.focus()
        self._show()

    # What is shown

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        """Draw the whole screen for the present thresholds."""
        if self.study is None or not self.is_mounted:
            return
        from eetui.inspection.side import StudySide
        from eetui.inspection.text import figures, legend
        from eetui.inspection.token_text import TokenText

        study, dark = self.study, self.app.current_theme.dark
        caution = self.view != "signal" or self.size.height >= LOW
        self.query_one("#figures", SteadyText).show(figures(study, self.size.width - 2, caution=caution))
        explained = self.query_one("#legend", SteadyText)
        explained.show(legend(study.table.blocks, max(20, explained.size.width - 2), dark=dark))
        self.query_one(TokenText).mark(study.now.outcome.left_at, study.correct_now)
        self._show_token()
        self.query_one("#side", StudySide).show(study)

    def _show_token(self) -> None:
        from eetui.inspection.text import token_pane
        from eetui.inspection.token_text import TokenText

        assert self.study is not None
        pane, cursor = self.query_one("#token", SteadyText), self.query_one(TokenText).cursor
        dark = self.app.current_theme.dark
        pane.show(token_pane(self.study, cursor, max(20, pane.size.width - 2), dark=dark))

    def on_token_text_moved(self) -> None:
        if self.study is not None:
            self._show_token()

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without statistics there is nothing to move; with one exit none to choose."""
        if action == "exit":
            return self.study is not None and self.study.table.exits > 1
        own = ("move", "price", "move_rate", "own", "search", "again", "too_early", "view", "diagnosis", "export")
        return action not in own or self.study is not None

    def action_move(self, step: float) -> None:
        """Move the price or the threshold; the step is the threshold's."""
        self._change(lambda study: study.move_by(step))

    def action_price(self) -> None:
        """Let the arrow keys move the price, or one threshold."""
        self._change(lambda study: study.switch())

    def action_move_rate(self, step: float) -> None:
        self._change(lambda study: study.move_rate(step))

    def action_own(self) -> None:
        self._change(lambda study: study.reset())

    def action_exit(self, step: int) -> None:
        self._change(lambda study: study.select(step))

    def _change(self, change: "Callable[[Study], None]") -> None:
        if self.study is not None:
            change(self.study)
            self._show()

    def action_view(self, view: str) -> None:
        self._close_diagnosis()
        self.remove_class(f"-view-{self.view}")
        self.view = view
        self.add_class(f"-view-{view}")
        self.call_after_refresh(self._show)

    def action_generate(self) -> None:
        actions = RunActions(self.bench)
        self.bench.attempt(lambda: actions.generate(self.bench.reader.run(self.run)))

    def action_export(self) -> None:
        """Ask for a figure of the run; all are at its own thresholds."""
        self.app.push_screen(Question("Draw a figure of this run, at its own thresholds", tuple(FIGURES)), self._draw)

    def _draw(self, answer: str | None) -> None:
        from eetui.inspection.token_text import TokenText

        if answer is not None:
            more = (self.query_one(TokenText).cursor,) if answer == "text" else ()
            self.bench.draw(FIGURES[answer], self.run, *more)

    def action_diagnosis(self) -> None:
        """Measured while it is open: closing it ends that."""
        if self.has_class("-diagnosis"):
            self._close_diagnosis()
        else:
            panel = self.query_one(DiagnosisPanel)
            self.add_class("-diagnosis")
            panel.open(self.bench.database, self.run)
            panel.focus()

    def _close_diagnosis(self) -> None:
        if self.has_class("-diagnosis"):
            self.remove_class("-diagnosis")
            self.query_one(DiagnosisPanel).stop()
            self.query_one("#text").focus()
            self.call_after_refresh(self._show)

    def leaving(self) -> None:
        self.query_one(DiagnosisPanel).stop()

    def action_search(self) -> None:
        self.app.push_screen(Prompt("Search the text for", self._searched, _require_text), self._search)

    def _search(self, words: str | None) -> None:
        if words:
            self._searched = words
            self.action_again(1)

    def action_again(self, direction: int) -> None:
        """Go to the next match of the search, or the one before."""
        from eetui.inspection.token_layout import SearchableText
        from eetui.inspection.token_text import TokenText

        if not self._searched or self.study is None:
            self.action_search()
            return
        self._searchable = self._searchable or SearchableText(self.study.table.inputs, self.study.looks)
        text = self.query_one(TokenText)
        find = self._searchable.find if direction > 0 else self._searchable.find_before
        self._go_to(find(self._searched, text.cursor), f"the text has no {self._searched!r}")

    def action_too_early(self, direction: int) -> None:
        """Go to a token that left early and wrong, though the last block had it right."""
        from eetui.inspection.token_text import TokenText

        if self.study is not None:
            place = self.query_one(TokenText).cursor
            self._go_to(self.study.too_early(place, direction), "no token that left was right in the last block only")

    def _go_to(self, token: int | None, otherwise: str) -> None:
        from eetui.inspection.token_text import TokenText

        if token is None:
            self.notify(otherwise, severity="warning", markup=False)
        else:
            self._close_diagnosis()
            self.query_one(TokenText).action_go_to(token)


def _require_text(words: str) -> None:
    if not words.strip():
        raise UsageError("write what to search for, or press escape")
