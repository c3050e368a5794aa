"""Which exit should draft, and how many tokens at a time: the function behind `eetui speculate`.

Every exit and length writes the prompts once, beside plain decoding. The fastest few are then timed in turns with plain
decoding, on fresh rounds: those that chose them would flatter them.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.analysis.speculative_text import (
    PLAIN,
    ROUNDS,
    Speed,
    acceptance_by_exit,
    seconds,
    sum_up,
    timed_turns,
)
from core.analysis.stored_run import evaluated_tokens, stored_run
from core.analysis.text_generator import TextGenerator
from core.config.run_config import RunConfig
from core.early_exit.draft_length import Drafting
from core.early_exit.generation import check_prompt, check_request
from core.early_exit.sampling import GenerationOptions
from core.early_exit.speculation import Tally
from core.errors import UsageError
from core.store.reader import Reader

LENGTHS = (1, 2, 4, 8)
"""Draft lengths that are tried, besides the one that is priced."""
PROMPTS = 4
"""Number of prompts from the evaluated text."""
FINALISTS = 3
"""Number of settings that are timed in turns with plain decoding."""


@dataclass(frozen=True)
class Trial:
    """An exit with a draft length.

    Attributes:
        screened: its speed as a multiple of plain decoding's, of one round.
        speed: of all rounds in turns; None: it was not among the fastest.
    """

    drafting: Drafting
    tally: Tally
    screened: float
    speed: Speed | None = None


@dataclass(frozen=True)
class Sweep:
    """All trials of a run's exits as drafters.

    Attributes:
        prompts: number of prompts.
        tokens: number of tokens written after each.
        plain: tokens a second of plain decoding, in the first round.
        acceptance: chance that a draft of each exit is accepted, on the texts written.
    """

    number: int
    name: str
    prompts: int
    tokens: int
    plain: float
    acceptance: tuple[float, ...]
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The fastest setting that was timed in turns."""
        return max(
            (trial for trial in self.trials if trial.speed), key=lambda trial: trial.speed.ratio if trial.speed else 0
        )

    @property
    def pays(self) -> bool:
        """Whether the fastest setting is clearly faster than plain decoding."""
        return self.best.speed is not None and self.best.speed.verdict == "pays"


def prompts_of(reader: Reader, number: int, count: int, length: int) -> list[list[int]]:
    """Return the first `length` tokens of windows from all over a run's evaluated text.

    Raises:
        UsageError: the run keeps no evaluated tokens.
    """
    run = stored_run(reader, number)
    table, _ = evaluated_tokens(reader, run)
    windows = table.inputs.reshape(-1, run.config.data.seq_len)
    chosen = np.linspace(0, len(windows) - 1, min(count, len(windows))).astype(int)
    return [[int(token) for token in windows[index, :length]] for index in chosen]


def planned(
    config: RunConfig,
    options: GenerationOptions,
    exits: Sequence[int] = (),
    lengths: Sequence[int] = LENGTHS,
    texts: Iterable[str] = (),
) -> list[Drafting]:
    """Return the settings that a sweep tries; arguments as for `sweep`, which needs the model.

    Raises:
        UsageError: a model of that config can't draft so, or a text is empty.
    """
    if min(lengths, default=1) < 1:
        raise UsageError(
            f"--lengths must be at least 1, got {min(lengths)}: all speeds are compared with plain decoding"
        )
    exits = exits or range(len(config.model.block_layers) - 1)
    found = [Drafting(exit_, length) for exit_ in exits or (0,) for length in (*lengths, None)]
    for drafting in found:
        check_request(config, options, drafting, texts)
    return found


def sweep(
    generator: TextGenerator,
    prompts: Sequence[Sequence[int]],
    options: GenerationOptions,
    *,
    exits: Sequence[int] = (),
    lengths: Sequence[int] = LENGTHS,
    rounds: int = ROUNDS,
) -> Generator[str, None, Sweep]:
    """Try every exit and length; yield what is being done.

    Args:
        exits: exits that draft; empty: all.
        rounds: number of timed rounds of the fastest settings.

    Raises:
        UsageError: there are no prompts, or the model can't draft so.
    """
    if not prompts:
        raise UsageError("there is nothing to write after: give a text (--prompt)")
    draftings = planned(generator.config, options, exits, lengths)
    for prompt in prompts:  # refuse what can't be done before the first is tried
        check_prompt(generator.model, prompt)
    tokens = len(prompts) * options.max_tokens
    yield "plain decoding"
    seconds(generator, prompts[:1], PLAIN, replace(options, max_tokens=min(4, options.max_tokens)))  # warm-up
    trials, first = list[Trial](), seconds(generator, prompts, PLAIN, options)
    acceptance = _acceptance(generator, prompts, options, [token.token for one in first[1] for token in one.tokens])
    for number, drafting in enumerate(draftings):
        yield f"setting {number + 1} of {len(draftings)}"
        plain = seconds(generator, prompts, PLAIN, options)[0]
        took, passes = seconds(generator, prompts, drafting, options)
        trials.append(Trial(drafting, sum_up(generator, passes, drafting), plain / took))
    for place in sorted(range(len(trials)), key=lambda place: -trials[place].screened)[:FINALISTS]:
        turns = list[tuple[float, float]]()
        for turn in timed_turns(generator, prompts, trials[place].drafting, options, rounds):
            turns.append(turn)
            yield f"the fastest in turns with plain decoding, round {len(turns)} of {rounds}"
        trials[place] = replace(trials[place], speed=Speed.of(turns, tokens))
    return Sweep(
        generator.number,
        generator.name,
        len(prompts),
        options.max_tokens,
        tokens / first[0],
        acceptance,
        tuple(trials),
    )


def _acceptance(
    generator: TextGenerator, prompts: Sequence[Sequence[int]], options: GenerationOptions, written: Sequence[int]
) -> tuple[float, ...]:
    """Return each exit's mean acceptance over the texts; `written` are their tokens, one text after the other."""
    count = options.max_tokens
    texts = [[*prompt, *written[place * count : (place + 1) * count]] for place, prompt in enumerate(prompts)]
    found = [acceptance_by_exit(generator, text, count, options) for text in texts]
    return tuple(sum(of_exit) / len(found) for of_exit in zip(*found, strict=True))
