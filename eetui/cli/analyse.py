"""Commands for finished runs: exit quality, thresholds that hold, where the perplexity went, ablation, generation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eetui.cli.options import AsJson, CorpusText, Database, EvaluationText, output

if TYPE_CHECKING:
    from core.session.prepare import Prepared
    from core.store.writer import Writer


def quality(
    reference: Annotated[str, typer.Argument(metavar="RUN", help="Number, name or unique prefix.")],
    as_json: AsJson = False,
    *,
    db: Database,
) -> None:
    """Judge a run's exits: what the signal knows, its reliability, overthinking, quality against savings."""
    from core.analysis.run_quality import run_quality
    from core.store.reader import Reader
    from eetui.cli.quality_text import quality_json, quality_tables

    with Reader(db) as reader:
        judged = run_quality(reader, reader.find(reference))
    if as_json:
        print(quality_json(judged))
    else:
        output().print(quality_tables(judged))


def calibrate(
    reference: Annotated[str, typer.Argument(metavar="RUN", help="Number, name or unique prefix.")],
    max_ppl_increase: Annotated[
        str | None, typer.Option(help="Risk budget: largest PPL increase over all blocks, such as 1%.")
    ] = None,
    exit_rate: Annotated[
        str | None, typer.Option(help="Instead: share of tokens that leaves at each exit, such as 50%.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="ltt: Learn then Test, holds with probability 1 - delta; crc: holds on average.")
    ] = "ltt",
    delta: Annotated[float, typer.Option(help="Probability with which the promise of ltt may be broken.")] = 0.1,
    unit_windows: Annotated[
        int | None, typer.Option(min=1, help="Neighbouring windows taken as one unit. [default: 1, for crc 8]")
    ] = None,
    resplits: Annotated[int, typer.Option(min=1, max=10_000, help="Random halvings that test the promise.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the split into calibration and test windows.")] = 0,
    as_json: AsJson = False,
    *,
    db: Database,
) -> None:
    """Choose a finished run's thresholds: by a promise about its PPL, or by exit rate."""
    from core.analysis.calibrate_run import calibrate as calibrate_run
    from core.analysis.calibration_request import Request, as_share
    from core.store.reader import Reader
    from eetui.cli.calibration_text import calibration_json, calibration_table

    request = Request(
        max_ppl_increase=as_share("--max-ppl-increase", max_ppl_increase),
        exit_rate=as_share("--exit-rate", exit_rate),
        method=method,
        delta=delta,
        unit_windows=unit_windows,
        resplits=resplits,
        seed=seed,
    )
    with Reader(db) as reader:
        result = calibrate_run(reader, reader.find(reference), request)
    if as_json:
        print(calibration_json(result))
    else:
        output().print(calibration_table(result))


def diagnose(
    reference: Annotated[str, typer.Argument(metavar="RUN", help="Number, name or unique prefix.")],
    as_json: AsJson = False,
    *,
    db: Database,
) -> None:
    """Show where a run's perplexity went, in nats, from training to early exit."""
    from core.analysis.diagnose_run import diagnose_run
    from core.store.reader import Reader
    from eetui.inspection.diagnosis_text import diagnosis_json, diagnosis_lines

    with Reader(db) as reader:
        found = diagnose_run(reader, reader.find(reference))
    if as_json:
        print(diagnosis_json(found))
    else:
        console = output()
        console.print(diagnosis_lines(found, console.width))


def ablate(
    method: Annotated[str, typer.Option("--method", "-m", help="Exit method, a name or your own file.")] = "loss",
    preset_from: Annotated[str, typer.Option("--preset-from", help="Preset whose protocol is taken apart.")] = "seed",
    config: Annotated[list[Path] | None, typer.Option(help="TOML file of config values, repeatable.")] = None,
    assign: Annotated[list[str] | None, typer.Option("--set", help="One config value, a.b=value, repeatable.")] = None,
    corpus: CorpusText = None,
    eval_corpus: EvaluationText = None,
    seed: Annotated[int | None, typer.Option(help="First seed.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Number of consecutive seeds.")] = 1,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = None,
    name: Annotated[str, typer.Option(help="What the runs' names begin with.")] = "ablate",
    as_json: AsJson = False,
    *,
    db: Database,
) -> None:
    """Turn each switch of the sound preset alone, then all of them in turn; train what is missing, show the table."""
    from core.config import run_config as configs
    from core.store.reader import Reader
    from core.store.writer import Writer
    from eetui.compare.ablation import ablation_lines, plan_ablation, plan_of, stored_runs
    from eetui.compare.ablation_text import ablation_json, ablation_table

    flags = {
        "--corpus": ("data.corpus", corpus),
        "--eval-corpus": ("data.eval_corpus", eval_corpus),
        "--seed": ("seed", seed),
        "--device": ("machine.device", device),
    }
    layers = [
        configs.preset_layer(preset_from),
        *(configs.file_layer(path) for path in config or ()),
        *(configs.set_layer(text) for text in assign or ()),
        *(configs.Layer(f"{flag} {v}", {key: v}) for flag, (key, v) in flags.items() if v is not None),
    ]
    ablation = plan_ablation(layers, preset=preset_from, method=method, seeds=seeds, name=name)
    with Writer(db), Reader(db) as reader:  # opening to write creates the database and closes the books of dead runs
        views, missing = stored_runs(ablation, reader)
    code = 0
    if missing:
        from eetui.cli.headless import train_headless

        plan = plan_of(ablation, missing)

        def prepare(store: "Writer") -> "Prepared":
            from core.session.prepare import prepare

            return prepare(plan, store)

        code = train_headless(prepare, db)
        with Reader(db) as reader:
            views, _ = stored_runs(ablation, reader)
    lines = ablation_lines(ablation, views)
    if as_json:
        print(ablation_json(ablation, lines))
    else:
        console = output()
        console.print(ablation_table(ablation, lines, console.width))
    raise typer.Exit(code)


def generate(
    reference: Annotated[str, typer.Argument(metavar="RUN", help="Number, name or unique prefix.")],
    prompt: Annotated[str, typer.Option(help="The beginning of the text.")],
    max_tokens: Annotated[int, typer.Option(help="How many tokens are made.")] = 60,
    temperature: Annotated[float, typer.Option(help="0: always the most probable token.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Draw from that many of the most probable tokens.")] = None,
    top_p: Annotated[float, typer.Option(help="Draw from the most probable that together have this chance.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    window: Annotated[int | None, typer.Option(help="Tokens the model looks at. [default: as trained]")] = None,
    as_json: AsJson = False,
    *,
    db: Database,
) -> None:
    """Let a run continue a text, each token in the look of the block it left at."""
    import sys
    import time

    from rich.console import Console

    from core.analysis.text_generator import open_writer, shares
    from core.early_exit.sampling import GenerationOptions
    from core.store.reader import Reader
    from eetui.generate.text import generation_json, legend, piece_text

    options = GenerationOptions(max_tokens, temperature, top_k, top_p, seed, window)
    options.check()
    with Reader(db) as reader:
        writer = open_writer(reader, reader.find(reference))
    tokens, console, began, pieces = writer.write(prompt, options), output(), time.perf_counter(), []
    if not as_json:
        console.print(prompt, end="", style="dim", markup=False, highlight=False, soft_wrap=True)
    for piece in tokens:
        pieces.append(piece)
        if not as_json:
            console.print(piece_text(piece), end="", soft_wrap=True)
    found = shares(writer, [piece.token for piece in pieces])
    if as_json:
        print(generation_json(writer, prompt, pieces, found))
        return
    console.print()
    Console(stderr=True).print(legend(writer, found, time.perf_counter() - began, len(pieces)))
    if unknown := writer.unknown(prompt):
        print(f"{unknown} of the prompt's words are not known to the run", file=sys.stderr)
