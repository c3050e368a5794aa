"""The command that generates text, with early exit or by speculation."""

import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import UsageError
from eetui.cli.options import AsJson, Database, Reference, output, reading

if TYPE_CHECKING:
    from core.analysis.text_generator import TextGenerator
    from core.early_exit.draft_length import Drafting
    from core.early_exit.sampling import GenerationOptions

Temperature = Annotated[float, typer.Option(help="0: always the most probable token.")]
TopK = Annotated[int | None, typer.Option(help="Draw from this many of the most probable tokens.")]
TopP = Annotated[float, typer.Option(help="Draw from the most probable tokens of this total probability.")]
Seed = Annotated[int, typer.Option(help="Seed of the draws.")]
Window = Annotated[int | None, typer.Option(help="Tokens of context. [default: as trained]")]
SPECULATION = "Speculation"
"""Name of the help's panel."""


def generate(
    reference: Reference,
    prompt: Annotated[str, typer.Option(help="The beginning of the text.")],
    max_tokens: Annotated[int, typer.Option(help="Number of tokens to generate.")] = 60,
    temperature: Temperature = 1.0,
    top_k: TopK = None,
    top_p: TopP = 1.0,
    seed: Seed = 0,
    window: Window = None,
    as_json: AsJson = False,
    speculate: Annotated[
        bool,
        typer.Option(
            "--speculate",
            help="Write what the whole model would: an exit drafts, the model verifies. Never fewer FLOPs; fewer "
            "seconds at best, and often more (docs/speculation.md).",
            rich_help_panel=SPECULATION,
        ),
    ] = False,
    exit_: Annotated[
        int | None, typer.Option("--exit", help="Exit that drafts. [default: 0]", rich_help_panel=SPECULATION)
    ] = None,
    draft: Annotated[
        int | None,
        typer.Option(
            help="Tokens to draft at a time; 0: none. [default: what gives the most tokens a second]",
            rich_help_panel=SPECULATION,
        ),
    ] = None,
    draft_until: Annotated[
        float | None,
        typer.Option(help="Draft until the exit's signal falls below this.", rich_help_panel=SPECULATION),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Rounds in which the text is written again, plain and by speculation, to time both. [default: 6]",
            rich_help_panel=SPECULATION,
        ),
    ] = None,
    *,
    db: Database,
) -> None:
    """Continue a text with a run's model, each token in the style of the block it left at."""
    from core.analysis.text_generator import open_generator
    from core.early_exit.draft_length import Drafting
    from core.early_exit.generation import check_request
    from core.early_exit.sampling import GenerationOptions

    given = {"--exit": exit_, "--draft": draft, "--draft-until": draft_until, "--rounds": rounds}
    if not speculate and (names := [name for name, value in given.items() if value is not None]):
        raise UsageError(f"without --speculate nothing is drafted: add it, or leave out {' and '.join(names)}")
    options = GenerationOptions(max_tokens, temperature, top_k, top_p, seed, window)
    options.check()
    drafting = Drafting(exit_ or 0, draft, draft_until) if speculate else None
    check = partial(check_request, options=options, drafting=drafting, prompts=[prompt])
    with reading(db, exact=as_json) as reader:
        generator = open_generator(reader, reader.find(reference), check)
    if drafting is not None:
        _write_speculatively(generator, prompt, drafting, options, rounds, as_json=as_json)
    else:
        _write(generator, prompt, options, as_json=as_json)
    if not as_json and (unknown := generator.unknown(prompt)):
        print(f"{unknown} of the prompt's words are not known to the run", file=sys.stderr)


def _write(generator: "TextGenerator", prompt: str, options: "GenerationOptions", *, as_json: bool) -> None:
    """Write with early exit."""
    from core.analysis.text_generator import origins
    from eetui.cli.harmless_console import HarmlessConsole
    from eetui.generate.text import generation_json, legend, piece_text

    tokens, console, began, pieces = generator.write(prompt, options), output(), time.perf_counter(), []
    if not as_json:
        console.print(prompt, end="", style="dim", highlight=False, soft_wrap=True)
    for piece in tokens:
        pieces.append(piece)
        if not as_json:
            console.print(piece_text(piece), end="", soft_wrap=True)
    found = origins(generator, [piece.token for piece in pieces])
    if as_json:
        print(generation_json(generator, prompt, pieces, found))
        return
    console.print()
    HarmlessConsole(sys.stderr).print(legend(generator, found, time.perf_counter() - began, len(pieces)))


def _write_speculatively(
    generator: "TextGenerator",
    prompt: str,
    drafting: "Drafting",
    options: "GenerationOptions",
    rounds: int | None,
    *,
    as_json: bool,
) -> None:
    """Write by speculation: the text alone on standard output, all figures on standard error."""
    from core.analysis import speculative_text as speculation
    from eetui.cli.harmless_console import HarmlessConsole
    from eetui.generate.speculated import figures_in_steps
    from eetui.generate.speculation_text import (
        NEVER_FEWER_FLOPS,
        drafting_text,
        speculation_json,
        speculation_legend,
    )
    from eetui.generate.text import piece_text

    written = speculation.write_speculatively(generator, prompt, drafting, options)
    console, errors, passes = output(), HarmlessConsole(sys.stderr), list[speculation.WrittenPass]()
    if not as_json:
        errors.print(f"{NEVER_FEWER_FLOPS} Drafts: {drafting_text(drafting)}.", style="dim", highlight=False)
        console.print(prompt, end="", style="dim", highlight=False, soft_wrap=True)
    for one in written:
        passes.append(one)
        for piece in () if as_json else one.pieces:
            console.print(piece_text(piece), end="", soft_wrap=True)
    if not as_json:
        console.print()
    wanted = speculation.ROUNDS if rounds is None else rounds
    *_, (found, _) = figures_in_steps(generator, prompt, passes, drafting, options, wanted)
    if as_json:
        print(speculation_json(generator, prompt, passes, found))
        return
    errors.print(speculation_legend(found, len(generator.model.blocks) - 1))
