"""What the signal of an exit is worth: worked out on a thread, as it takes a moment, and kept."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual import work
from textual.message import Message
from textual.widgets import Static

from core.errors import EetuiError

if TYPE_CHECKING:  # numpy and pydantic: imported by the thread
    from core.analysis.run_quality import Judgement
    from eetui.inspection.study import Study


class ExitQualityText(Static):
    """The exit that is moved, judged on all tokens."""

    DEFAULT_CSS = """
    ExitQualityText { height: auto; }
    """

    @dataclass
    class Judged(Message):
        """An exit has been judged."""

        block: int

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # as every Textual widget calls it
        super().__init__(id=id, markup=False)
        self._judged: dict[int, Judgement | str] = {}
        """By block; a sentence where an exit can't be judged."""
        self._asked: set[int] = set()
        self._study: Study | None = None
        self._shown: object = None

    def show(self, study: "Study", width: int) -> None:
        """Show the quality, measuring it first if it is not known."""
        self._study, known = study, self._judged.get(study.block)
        if (study.block, known, width) == self._shown:
            return
        self._shown = (study.block, known, width)
        if known is not None:
            from eetui.inspection.exit_quality_text import quality_text

            self.update(known if isinstance(known, str) else quality_text(known, width))
            return
        self.update("judging the exit …")
        if study.block not in self._asked:
            self._asked.add(study.block)
            self._judge(study, study.block)

    @work(thread=True, group="quality")
    def _judge(self, study: "Study", block: int) -> None:
        from core.analysis.run_quality import judge_exit

        try:
            self._judged[block] = judge_exit(study.table, block, study.meaning)
        except EetuiError as error:
            self._judged[block] = str(error)
        self.post_message(self.Judged(block))

    def on_exit_quality_text_judged(self) -> None:
        if self._study is not None and self.is_mounted:
            self.show(self._study, max(20, self.size.width))
