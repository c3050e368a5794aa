"""The price that set a run's thresholds: what was asked for, what it promises, and what came of it."""

from collections.abc import Iterator

from rich.text import Text

from core.state import RunState
from eetui.drawing.cells import bar, fitted
from eetui.drawing.figures import figure
from eetui.drawing.palette import Palette
from eetui.summary.priced_text import priced_facts

LABEL_WIDTH, WORDS_WIDTH, WIDEST = 11, 41, 80


def priced_table(state: RunState, width: int, style: Palette) -> Text:
    """Draw one line for each fact, and one for each exit with a bar of the tokens that left as it was set."""
    if state.priced is None:
        return Text("found when the stage ends", style.quiet)
    lines = [_line(label, words, width, style) for label, words in priced_facts(state)]
    return Text("\n", no_wrap=True).join([*lines, Text(), *_exits(state, width, style)])


def _exits(state: RunState, width: int, style: Palette) -> Iterator[Text]:
    stages = [stage for stage in state.stages if stage.kind == "hard tokens" and stage.threshold]
    shares = state.shares_as_set(len(stages) + 1)
    for stage, share in zip(stages, shares, strict=False):
        assert stage.threshold is not None
        words = f"exit {stage.block}  threshold {figure(stage.threshold.threshold, 'signal'):>6}  {share:>6.1%} leave"
        text = Text(fitted(words, WORDS_WIDTH), no_wrap=True)
        yield text.append_text(bar(share, max(min(width, WIDEST) - WORDS_WIDTH, 0), style.live, style.quiet))


def _line(label: str, words: str, width: int, style: Palette) -> Text:
    line = Text.assemble((f"{label:<{LABEL_WIDTH}}", style.quiet), words, no_wrap=True)
    line.truncate(width, overflow="ellipsis")
    return line
