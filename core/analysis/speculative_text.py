"""Text generation by speculation with a finished run: passes with their text, acceptance, speed against plain decoding.

Shapes: T tokens of a text, V vocabulary size.
"""

import statistics
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from core.analysis.text_generator import Piece, TextGenerator, as_pieces, last_character
from core.early_exit.draft_length import Drafting
from core.early_exit.generation import GeneratedToken
from core.early_exit.sampling import DEFAULTS, GenerationOptions, distribution, trained_window, window_of
from core.early_exit.speculation import Pass, Tally, speculate, tally
from core.intervals import Interval, of_median

PLAIN = Drafting(0, length=0)
"""Decoding that drafts nothing: the same code, so that a comparison times drafting alone."""
ROUNDS = 6
"""Number of timed rounds: the fewest that have a 95% interval."""


@dataclass(frozen=True)
class WrittenPass:
    """A pass of the whole model with its text.

    Attributes:
        pieces: the tokens it added.
        rejected: text of the drafts that it did not keep.
    """

    verified: Pass
    pieces: tuple[Piece, ...]
    rejected: str


@dataclass(frozen=True)
class Speed:
    """Speed of speculation and of plain decoding, timed in turns on the same prompts.

    Attributes:
        ratio: speed as a multiple of plain decoding's, median over rounds; without an interval of too few rounds.
        speculative, plain: tokens a second, median over rounds.
    """

    ratio: float
    interval: Interval | None
    speculative: float
    plain: float
    rounds: int

    @staticmethod
    def of(turns: Sequence[tuple[float, float]], tokens: int) -> "Speed":
        """Summarise at least one turn: seconds of plain and of speculative decoding of that many tokens."""
        ratios = [plain / speculative for plain, speculative in turns]
        plain, speculative = (statistics.median(side) for side in zip(*turns, strict=True))
        return Speed(statistics.median(ratios), of_median(ratios), tokens / speculative, tokens / plain, len(turns))

    @property
    def verdict(self) -> str:
        """In words: pays, does not pay, or no clear difference."""
        if self.interval is None or self.interval.low <= 1 <= self.interval.high:
            return "makes no clear difference"
        return "pays" if self.interval.low > 1 else "does not pay"


def write_speculatively(
    generator: TextGenerator, prompt: str, drafting: Drafting, options: GenerationOptions = DEFAULTS
) -> Iterator[WrittenPass]:
    """Continue a prompt as the whole model would, pass by pass.

    Raises:
        UsageError: at once, if the prompt has no token, an option is out of range, or the model can't draft so.
    """
    read = generator.tokens(prompt)
    passes = speculate(generator.model, generator.config, read, drafting, options)
    return _with_text(generator, passes, read, last_character(prompt))


def _with_text(
    generator: TextGenerator, passes: Iterator[Pass], read: Sequence[int], follows: str
) -> Iterator[WrittenPass]:
    vocabulary = generator.vocabulary
    waiting = deque[GeneratedToken]()
    pieces = as_pieces(vocabulary, iter(waiting.popleft, None), read, follows)
    for one in passes:
        waiting.extend(one.tokens)
        rejected = one.drafted[one.accepted :]
        yield WrittenPass(one, tuple(islice(pieces, len(one.tokens))), vocabulary.decode(rejected) if rejected else "")


def sum_up(generator: TextGenerator, passes: Sequence[Pass], drafting: Drafting) -> Tally:
    """Sum up at least one pass."""
    return tally(passes, drafting, generator.config, generator.vocabulary.size)


def undrafted(generator: TextGenerator, prompt: Sequence[int], passes: Sequence[Pass], window: int | None) -> int:
    """Count the tokens after a prompt that were written with a full window, where nothing can be drafted.

    Args:
        window: as in `GenerationOptions`.
    """
    window, length, count = window or trained_window(generator.config), len(prompt), 0
    for one in passes:
        count += len(one.tokens) if length >= window else 0
        length += len(one.tokens)
    return count


@torch.no_grad()
def acceptance_by_exit(
    generator: TextGenerator, text: Sequence[int], written: int, options: GenerationOptions = DEFAULTS
) -> tuple[float, ...]:
    """Return the chance that a draft of each exit is accepted, mean over the last `written` tokens of a text.

    The text is read in one pass, and no longer than a window. A draft that is the most probable token is accepted
    where it is the whole model's; a drawn one with probability `Σ min(p, q)` (Leviathan et al. 2023, corollary 3.6).
    """
    window = window_of(options, generator.config)
    model, read = generator.model, list(text[:-1])[-window:]
    judged = min(written, len(read))
    ids = torch.tensor([read], device=model.embedding.weight.device)
    states, found = model.embed(ids), list[list[Tensor]]()
    for index, block in enumerate(model.blocks):
        states = block(states)
        logits = model.readout(index, states[0, -judged:]) @ model.head_weight(index).T  # [T, V]
        found.append([_choice(row, options) for row in logits])
    return tuple(_overlap(own, found[-1]) for own in found[:-1])


def _choice(logits: Tensor, options: GenerationOptions) -> Tensor:
    """Return the distribution of the next token, `[V]`, or the number of the most probable one at temperature 0."""
    return logits.argmax() if options.temperature == 0 else distribution(logits, options)


def _overlap(drafts: Sequence[Tensor], wholes: Sequence[Tensor]) -> float:
    chances = [
        float((draft == whole) if draft.dim() == 0 else torch.minimum(draft, whole).sum())
        for draft, whole in zip(drafts, wholes, strict=True)
    ]
    return statistics.fmean(chances)


def seconds(
    generator: TextGenerator, prompts: Sequence[Sequence[int]], drafting: Drafting, options: GenerationOptions
) -> tuple[float, list[Pass]]:
    """Continue every prompt once; return the seconds it took, and the passes."""
    began, passes = time.perf_counter(), list[Pass]()
    for prompt in prompts:
        passes += speculate(generator.model, generator.config, prompt, drafting, options)
    return time.perf_counter() - began, passes


def timed_turns(
    generator: TextGenerator,
    prompts: Sequence[Sequence[int]],
    drafting: Drafting,
    options: GenerationOptions = DEFAULTS,
    rounds: int = ROUNDS,
) -> Iterator[tuple[float, float]]:
    """Yield seconds of plain and of speculative decoding, round by round; which comes first alternates.

    Drawn texts differ from round to round by their seeds, and between the two sides by chance.
    """
    for turn in range(rounds):
        own = replace(options, seed=options.seed + turn)
        sides = {"plain": PLAIN, "speculative": drafting}
        order = sorted(sides, reverse=bool(turn % 2))
        took = {side: seconds(generator, prompts, sides[side], own)[0] for side in order}
        yield took["plain"], took["speculative"]
