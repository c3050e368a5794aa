"""The Generate screen: a prompt, its continuation while it is generated, and the block each token left at."""

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Footer, Input, Label, Static
from textual.worker import get_current_worker

from core.errors import EetuiError, UsageError
from eetui.console.screen import BenchScreen
from eetui.drawing.flowing_text import FlowingText

if TYPE_CHECKING:  # they import torch, which only the generating thread does
    from core.analysis.text_generator import Piece, TextGenerator
    from core.early_exit.sampling import GenerationOptions

LOOK_SECONDS = 0.1
"""Time between two updates of the text."""
OPTIONS = (
    ("max_tokens", "tokens", "60", "how many are made"),
    ("temperature", "temperature", "1", "0: always the most probable"),
    ("top_k", "top k", "", "all"),
    ("top_p", "top p", "1", "of the probability"),
    ("seed", "seed", "0", "of the draws"),
)
"""Name, label, first value and placeholder of each option's field."""
HELP = """The model of this run continues your text, token by token, with early exit as it was evaluated: each token \
looks like the block that it came from. Beyond the length it was trained with, the model sees the end of the text only.

Nothing that is written here is stored."""


class GenerateScreen(BenchScreen):
    """Shows prompt and options, and the text while it is generated."""

    HELP_TEXT = HELP
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+g", "generate", "Write", id="generate.start", tooltip="Continue the prompt; enter does too"),
        Binding("ctrl+s", "stop", "Stop", id="generate.stop", tooltip="Stop writing"),
    ]
    CSS = """
    GenerateScreen {
        #title { height: 1; background: $panel; padding: 0 1; }
        #prompt { margin: 1 1 0 1; }
        #options { height: 1; margin: 1 1 0 1; }
        #options Label { color: $text-muted; padding: 0 1 0 0; }
        #options Input { width: 7; height: 1; border: none; margin: 0 1 0 0; padding: 0; background: $panel; }
        #text { margin: 1 0 0 0; padding: 0 2; }
        #figures { height: auto; min-height: 2; background: $surface; padding: 0 1; }
    }
    """

    def __init__(self, run: int) -> None:
        super().__init__()
        self.run = run
        self._generator: TextGenerator | None = None
        self._prompt = ""
        self._pieces: list[Piece] = []
        """Tokens generated so far; the generating thread appends to it and changes nothing else."""
        self._seconds = 0.0
        self._shown: object = None
        self._laid_out = 0
        """Number of pieces in the text shown."""

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        yield Input(placeholder="Write the beginning of a text, then press enter", id="prompt")
        with Horizontal(id="options"):
            for name, label, value, meaning in OPTIONS:
                yield Label(label)
                yield Input(value, placeholder=meaning, id=name)
        yield FlowingText(id="text")
        yield Static(id="figures", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        self.query_one("#prompt").focus()
        self.app.theme_changed_signal.subscribe(self, lambda _: self._redraw())
        self.set_interval(LOOK_SECONDS, self._show_news)

    def update(self) -> None:
        """Show the run's name and facts, which may have changed."""
        try:
            row = self.bench.reader.run(self.run)
        except EetuiError as error:
            self.query_one("#title", Static).update(str(error))
            return
        facts = f"  {row['method']}  seed {row['seed']}  {row['status']}"
        self.query_one("#title", Static).update(Text.assemble(("Generate ", "bold"), row["name"], (facts, "dim")))

    def leaving(self) -> None:
        self.workers.cancel_node(self)

    # Keys

    def on_input_submitted(self) -> None:
        self.action_generate()

    def action_generate(self) -> None:
        """Start over with the prompt and options in the fields."""
        self.bench.attempt(self._begin)

    def action_stop(self) -> None:
        self.workers.cancel_node(self)

    def _begin(self) -> None:
        prompt, options = self.query_one("#prompt", Input).value, self._options()
        if not prompt.strip():
            raise UsageError("write the beginning of a text first")
        self._prompt, self._pieces, self._seconds = prompt, [], 0.0
        self._redraw()
        self._write(prompt, options, self._pieces)

    def _options(self) -> "GenerationOptions":
        """Return the options in the fields.

        Raises:
            UsageError: a field is not a number or is out of range.
        """
        from core.early_exit.sampling import DEFAULTS, GenerationOptions

        values = {name: self.query_one(f"#{name}", Input).value.strip() for name, *_ in OPTIONS}
        whole = {name: _whole_number(name, values[name]) for name in ("max_tokens", "top_k", "seed")}
        options = GenerationOptions(
            max_tokens=DEFAULTS.max_tokens if whole["max_tokens"] is None else whole["max_tokens"],
            temperature=_number("temperature", values["temperature"], DEFAULTS.temperature),
            top_k=whole["top_k"],
            top_p=_number("top p", values["top_p"], DEFAULTS.top_p),
            seed=whole["seed"] or 0,
        )
        options.check()
        return options

    # The generating thread

    @work(thread=True, exclusive=True, group="generate")
    def _write(self, prompt: str, options: "GenerationOptions", pieces: "list[Piece]") -> None:
        """Append generated tokens to `pieces` until all are generated or the worker is cancelled."""
        worker = get_current_worker()
        try:
            self._generator = self._generator or self._opened()
            began = time.perf_counter()
            for piece in self._generator.write(prompt, options):
                if worker.is_cancelled:
                    return
                pieces.append(piece)
                self._seconds = time.perf_counter() - began
        except EetuiError as error:
            if not worker.is_cancelled:  # else the console may be closing
                message = str(error)
                self.app.call_from_thread(self.notify, message, severity="error", timeout=10, markup=False)

    def _opened(self) -> "TextGenerator":
        """Open the run's generator with a reader of this thread's own, on one core unless a run is training.

        A token is little work, and two threads that wait for each other slow down a busy machine.
        """
        import torch

        from core.analysis.text_generator import open_generator  # first: it stores torch's default threads, for runs
        from core.store.reader import Reader

        if not self.bench.trainer.snapshot.busy:
            torch.set_num_threads(1)
        with Reader(self.bench.database) as reader:
            return open_generator(reader, self.run)

    # Display

    def _show_news(self) -> None:
        state = (id(self._pieces), len(self._pieces), self._busy)
        if state != self._shown and self._prompt:
            self._shown = state
            self._show()

    def on_resize(self) -> None:
        self.call_after_refresh(self._redraw)

    def _redraw(self) -> None:
        """Lay out all of the text: it is a new one, or the theme or the width has changed."""
        if self.is_mounted and self._prompt:
            self._laid_out = 0
            self.query_one(FlowingText).clear()
            self.query_one(FlowingText).append([Text(self._prompt, "dim")])
            self._show()

    @property
    def _busy(self) -> bool:
        return any(worker.node is self and worker.is_running for worker in self.workers)

    def _show(self) -> None:
        pieces = list(self._pieces)
        self.query_one(FlowingText).append(self._texts(pieces[self._laid_out :]))
        self._laid_out = len(pieces)
        self.query_one("#figures", Static).update(self._figures(pieces))

    def _texts(self, pieces: "Sequence[Piece]") -> Iterator[Text]:
        if not pieces:
            return iter(())  # the imports below import torch, which is the thread's task
        from eetui.drawing.themes import block_style
        from eetui.generate.text import piece_text

        dark = self.app.current_theme.dark
        return (piece_text(piece, block_style(piece.token.block, dark=dark)) for piece in pieces)

    def _figures(self, pieces: "list[Piece]") -> Text:
        """Write the legend and figures of the tokens, once there are any."""
        if not pieces or self._generator is None:
            return Text("reading the model …" if self._busy else "")
        from core.analysis.text_generator import origins
        from eetui.drawing.themes import block_style
        from eetui.generate.text import legend

        dark = self.app.current_theme.dark
        looks = [block_style(block, dark=dark) for block in range(len(self._generator.config.model.block_layers))]
        found = origins(self._generator, [piece.token for piece in pieces])
        text = legend(self._generator, found, self._seconds, len(pieces), looks)
        unknown = self._generator.unknown(self._prompt)
        count = "1 word" if unknown == 1 else f"{unknown} words"
        return text.append(f"   {count} of the prompt not known", "dim") if unknown else text


def _whole_number(name: str, text: str) -> int | None:
    """Read a whole number; None if the field is empty.

    Raises:
        UsageError: it is not a whole number.
    """
    try:
        return int(text) if text else None
    except ValueError:
        raise UsageError(f"{name.replace('_', ' ')} must be a whole number, got {text!r}") from None


def _number(name: str, text: str, otherwise: float) -> float:
    """Read a number; `otherwise` if the field is empty.

    Raises:
        UsageError: it is not a number.
    """
    try:
        return float(text) if text else otherwise
    except ValueError:
        raise UsageError(f"{name} must be a number, got {text!r}") from None
