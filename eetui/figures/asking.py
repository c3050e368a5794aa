"""Asks for the format of a figure in the console, and draws it on a thread."""

import contextlib
from collections.abc import Sequence
from functools import partial

from core.errors import EetuiError
from eetui.console.bench import Bench
from eetui.console.dialogs import Question
from eetui.console.export import FOLDER
from eetui.figures.render import FORMATS


def ask(bench: Bench, figure: str, arguments: Sequence[object]) -> None:
    """Ask for a format; a figure of `FIGURES` is then written, with its numbers beside it, and where is said."""

    def answered(answer: str | None) -> None:
        if answer is not None:
            work = partial(_write, bench, figure, arguments, answer)
            bench.run_worker(work, thread=True, group="figures", exit_on_error=False)

    formats = tuple(reversed(FORMATS))  # the last one has the focus
    bench.push_screen(Question("Draw the figure, with its numbers as CSV beside it, as", formats), answered)


def _write(bench: Bench, figure: str, arguments: Sequence[object], written: str) -> None:
    """On a thread: importing matplotlib takes a second, and working out a figure of many tokens another."""
    from eetui.figures.of_screens import FIGURES, write_beside_others

    try:
        plot = FIGURES[figure](bench.database, *arguments)
        first, *_ = write_beside_others(plot, FOLDER, next(one for one in FORMATS if one == written))
        said = partial(bench.notify, f"exported to {first.resolve()}, its numbers beside it", markup=False)
    except EetuiError as error:
        said = partial(bench.notify, str(error), severity="error", timeout=10, markup=False)
    with contextlib.suppress(RuntimeError):  # the console has ended meanwhile
        bench.call_from_thread(said)
