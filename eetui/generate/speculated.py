"""The figures of a text written by speculation: at once, and its speed round by round."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from core.analysis import speculative_text as speculation
from core.analysis.speculative_text import WrittenPass
from core.analysis.text_generator import TextGenerator
from core.early_exit.draft_length import Drafting
from core.early_exit.sampling import GenerationOptions
from eetui.generate.speculation_text import Speculated


def figures_so_far(
    generator: TextGenerator, prompt: str, passes: Sequence[WrittenPass], drafting: Drafting, window: int | None = None
) -> Speculated:
    """Return the figures of at least one pass that need no computing."""
    verified, ids = [one.verified for one in passes], generator.tokens(prompt)
    return Speculated(
        drafting,
        speculation.sum_up(generator, verified, drafting),
        undrafted=speculation.undrafted(generator, ids, verified, window),
    )


def figures_in_steps(
    generator: TextGenerator,
    prompt: str,
    passes: Sequence[WrittenPass],
    drafting: Drafting,
    options: GenerationOptions,
    rounds: int = speculation.ROUNDS,
) -> Iterator[tuple[Speculated, str]]:
    """Yield the figures of a complete text and what is being done: its speed comes last, after all rounds.

    The consumer may stop early.
    """
    ids = generator.tokens(prompt)
    text = ids + [piece.token.token for one in passes for piece in one.pieces]
    found = replace(
        figures_so_far(generator, prompt, passes, drafting, options.window),
        acceptance=speculation.acceptance_by_exit(generator, text, options.max_tokens, options),
    )
    turns = list[tuple[float, float]]()
    yield found, f"timing, round 1 of {rounds} …" if rounds else ""
    for turn in speculation.timed_turns(generator, [ids], drafting, options, rounds):
        turns.append(turn)
        if len(turns) < rounds:
            yield found, f"timing, round {len(turns) + 1} of {rounds} …"
    if turns:
        yield replace(found, speed=speculation.Speed.of(turns, options.max_tokens)), ""
