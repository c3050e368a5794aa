"""The Generate screen: a prompt, its continuation while it is generated, and the block each token left at."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from rich.style import Style
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Input, Label, Static
from textual.worker import get_current_worker

from core.errors import EetuiError, UsageError
from eetui.console.screen import BenchScreen
from eetui.drawing.figures import number_of
from eetui.drawing.flowing_text import FlowingText
from eetui.drawing.steady_footer import SteadyFooter
from eetui.generate.drafting_row import DraftingRow
from eetui.generate.numbers import number, whole_number

if TYPE_CHECKING:  # they import torch, which only the generating thread does
    from core.analysis.speculative_text import WrittenPass
    from core.analysis.text_generator import Piece, TextGenerator
    from core.early_exit.draft_length import Drafting
    from core.early_exit.sampling import GenerationOptions
    from eetui.generate.speculation_text import Speculated

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

With speculation, an exit drafts tokens and the whole model verifies them: the text is the whole model's. Accepted \
drafts have the look of the exit's block, rejected ones stand between [- and -]. It never saves FLOPs and is often \
slower: once the text is there it is written again, plain and by speculation in turns, to time both.

Nothing that is written here is stored."""


class GenerateScreen(BenchScreen):
    """Shows prompt and options, and the text while it is generated."""

    HELP_TEXT = HELP
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+g", "generate", "Write", id="generate.start", tooltip="Continue the prompt; enter does too"),
        Binding("ctrl+o", "speculate", "Speculate", id="generate.speculate", tooltip="Switch speculation on or off"),
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
        self._pieces: list[Piece | WrittenPass] = []
        """Tokens, or passes, so far; the generating thread appends to it."""
        self._seconds = 0.0
        self._speculated: Speculated | None = None
        """Figures of the text once it is complete; None: early exit, or not yet."""
        self._drafting: Drafting | None = None
        self._timing = ""
        """Progress of the timing."""
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
        yield DraftingRow()
        yield FlowingText(id="text")
        yield Static(id="figures", markup=False)
        yield SteadyFooter()

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

    def action_speculate(self) -> None:
        self.query_one(DraftingRow).toggle()

    def action_stop(self) -> None:
        self.workers.cancel_node(self)

    def _begin(self) -> None:
        prompt, options = self.query_one("#prompt", Input).value, self._options()
        drafting = self.query_one(DraftingRow).drafting()
        if not prompt.strip():
            raise UsageError("write the beginning of a text first")
        self._prompt, self._pieces, self._seconds = prompt, [], 0.0
        self._drafting, self._speculated, self._timing = drafting, None, ""
        self._redraw()
        self._write(prompt, options, self._pieces, drafting)

    def _options(self) -> "GenerationOptions":
        """Return the options in the fields.

        Raises:
            UsageError: a field is not a number or is out of range.
        """
        from core.early_exit.sampling import DEFAULTS, GenerationOptions

        values = {name: self.query_one(f"#{name}", Input).value.strip() for name, *_ in OPTIONS}
        whole = {name: whole_number(name, values[name]) for name in ("max_tokens", "top_k", "seed")}
        options = GenerationOptions(
            max_tokens=DEFAULTS.max_tokens if whole["max_tokens"] is None else whole["max_tokens"],
            temperature=number("temperature", values["temperature"], DEFAULTS.temperature),
            top_k=whole["top_k"],
            top_p=number("top p", values["top_p"], DEFAULTS.top_p),
            seed=whole["seed"] or 0,
        )
        options.check()
        return options

    # The generating thread

    @work(thread=True, exclusive=True, group="generate")
    def _write(
        self,
        prompt: str,
        options: "GenerationOptions",
        pieces: "list[Piece | WrittenPass]",
        drafting: "Drafting | None",
    ) -> None:
        """Append what is generated to `pieces` until all of it is there or the worker is cancelled."""
        worker = get_current_worker()
        try:
            self._generator = self._generator or self._opened(options, drafting)
            began = time.perf_counter()
            for piece in self._written(prompt, options, drafting):
                if worker.is_cancelled:
                    return
                pieces.append(piece)
                self._seconds = time.perf_counter() - began
            if drafting is not None:
                self._sum_up(prompt, options, drafting)
        except EetuiError as error:
            if not worker.is_cancelled:  # else the console may be closing
                message = str(error)
                self.app.call_from_thread(self.notify, message, severity="error", timeout=10, markup=False)

    def _written(
        self, prompt: str, options: "GenerationOptions", drafting: "Drafting | None"
    ) -> "Iterator[Piece | WrittenPass]":
        assert self._generator is not None, "it was opened before"
        if drafting is None:
            return self._generator.write(prompt, options)
        from core.analysis.speculative_text import write_speculatively

        return write_speculatively(self._generator, prompt, drafting, options)

    def _sum_up(self, prompt: str, options: "GenerationOptions", drafting: "Drafting") -> None:
        """Compute the figures of a text that is complete, and then its speed, unless the worker is cancelled."""
        from eetui.generate.speculated import figures_in_steps

        worker = get_current_worker()
        assert self._generator is not None, "it was opened before"
        for found, timing in figures_in_steps(self._generator, prompt, self._passes, drafting, options):
            if worker.is_cancelled:
                self._timing = ""
                return
            self._speculated, self._timing = found, timing

    def _opened(self, options: "GenerationOptions", drafting: "Drafting | None") -> "TextGenerator":
        """Open the run's generator with a reader of this thread's own, on one core unless a run is training.

        A token is little work, and two threads that wait for each other slow down a busy machine.
        """
        import torch

        from core.analysis.text_generator import open_generator  # first: it stores torch's default threads, for runs
        from core.early_exit.generation import check_request
        from core.store.reader import Reader

        if not self.bench.trainer.snapshot.busy:
            torch.set_num_threads(1)
        with Reader(self.bench.database) as reader:
            return open_generator(reader, self.run, partial(check_request, options=options, drafting=drafting))

    # Display

    def _show_news(self) -> None:
        state = (id(self._pieces), len(self._pieces), self._busy, self._timing)
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

    def _texts(self, pieces: "Sequence[Piece | WrittenPass]") -> Iterator[Text]:
        if not pieces:
            return iter(())  # the imports below import torch, which is the thread's task
        from core.analysis.text_generator import Piece
        from eetui.generate.speculation_text import pass_text
        from eetui.generate.text import piece_text

        looks = self._looks
        return (
            piece_text(piece, looks[piece.token.block]) if isinstance(piece, Piece) else pass_text(piece, looks)
            for piece in pieces
        )

    @property
    def _looks(self) -> "list[Style]":
        """Style of each block."""
        from eetui.drawing.themes import block_style

        assert self._generator is not None, "it was opened before"
        dark = self.app.current_theme.dark
        return [block_style(block, dark=dark) for block in range(len(self._generator.config.model.block_layers))]

    @property
    def _passes(self) -> "list[WrittenPass]":
        from core.analysis.speculative_text import WrittenPass

        return [piece for piece in self._pieces if isinstance(piece, WrittenPass)]

    def _figures(self, pieces: "list[Piece | WrittenPass]") -> Text:
        """Write the legend and figures of the tokens, once there are any."""
        if not pieces or self._generator is None:
            return Text("reading the model …" if self._busy else "")
        text = self._legend(self._generator, pieces)
        unknown = self._generator.unknown(self._prompt)
        return text.append(f"   {number_of(unknown, 'word')} of the prompt not known", "dim") if unknown else text

    def _legend(self, generator: "TextGenerator", pieces: "list[Piece | WrittenPass]") -> Text:
        from core.analysis.text_generator import Piece, origins
        from eetui.generate.speculated import figures_so_far
        from eetui.generate.speculation_text import speculation_legend
        from eetui.generate.text import legend

        if self._drafting is None:
            tokens = [piece.token for piece in pieces if isinstance(piece, Piece)]
            return legend(generator, origins(generator, tokens), self._seconds, len(tokens), self._looks)
        found = self._speculated or figures_so_far(generator, self._prompt, self._passes, self._drafting)
        text = speculation_legend(found, len(self._looks) - 1, self._looks)
        if found.speed is None:
            speed = f"{found.tally.tokens / self._seconds:,.1f} tokens/s" if self._seconds else ""
            text.append(f"\n{speed}{'; ' if self._timing else ''}{self._timing}", "dim")
        return text
