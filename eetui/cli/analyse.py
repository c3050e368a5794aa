"""Commands for finished runs: quality, calibrate, diagnose."""

from typing import Annotated

import typer

from eetui.cli.options import AsJson, Database, Reference, as_share, output, reading


def quality(
    reference: Reference,
    as_json: AsJson = False,
    *,
    db: Database,
) -> None:
    """Judge a run's exits: AUROC and reliability of the signal, overthinking, quality against savings."""
    from core.analysis.run_quality import run_quality
    from eetui.cli.quality_text import quality_json, quality_tables

    with reading(db, exact=as_json) as reader:
        judged = run_quality(reader, reader.find(reference))
    if as_json:
        print(quality_json(judged))
    else:
        output().print(quality_tables(judged))


def calibrate(
    reference: Reference,
    max_ppl_increase: Annotated[
        str | None, typer.Option(help="Risk budget: largest PPL increase over all blocks, such as 1%.")
    ] = None,
    exit_rate: Annotated[
        str | None, typer.Option(help="Instead: share of tokens that leave at each exit, such as 50%.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="ltt: Learn then Test, holds with probability 1 - delta; crc: holds on average.")
    ] = "ltt",
    over: Annotated[
        str,
        typer.Option(help="rate: tries thresholds at rising exit rates; price: at rising prices, one for all exits."),
    ] = "rate",
    delta: Annotated[float, typer.Option(help="Probability with which the guarantee of ltt may fail.")] = 0.1,
    unit_windows: Annotated[
        int | None, typer.Option(min=1, help="Neighbouring windows joined into one unit. [default: 1, for crc 8]")
    ] = None,
    resplits: Annotated[int, typer.Option(min=1, max=10_000, help="Random halvings that test the guarantee.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split into calibration and test windows.")] = 0,
    as_json: AsJson = False,
    *,
    db: Database,
) -> None:
    """Choose a finished run's thresholds: by a guarantee about its PPL, or by exit rate."""
    from core.analysis.calibrate_run import calibrate as calibrate_run
    from core.analysis.calibration_request import CalibrationRequest
    from eetui.cli.calibration_text import calibration_json, calibration_table

    request = CalibrationRequest(
        max_ppl_increase=as_share("--max-ppl-increase", max_ppl_increase),
        exit_rate=as_share("--exit-rate", exit_rate),
        method=method,
        delta=delta,
        unit_windows=unit_windows,
        resplits=resplits,
        seed=seed,
        over=over,
    )
    with reading(db, exact=as_json) as reader:
        result = calibrate_run(reader, reader.find(reference), request)
    if as_json:
        print(calibration_json(result))
    else:
        output().print(calibration_table(result))


def diagnose(
    reference: Reference,
    as_json: AsJson = False,
    *,
    db: Database,
) -> None:
    """Show where a run's perplexity went, in nats, from training to early exit."""
    from core.analysis.diagnose_run import diagnose_run
    from eetui.inspection.diagnosis_text import diagnosis_json, diagnosis_lines

    with reading(db, exact=as_json) as reader:
        found = diagnose_run(reader, reader.find(reference))
    if as_json:
        print(diagnosis_json(found))
    else:
        console = output()
        console.print(diagnosis_lines(found, console.width))
