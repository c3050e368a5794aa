"""Commands that compare runs: compare, and ablate, which trains the runs it compares."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import UsageError
from eetui.cli.choices import CHOICES, listed
from eetui.cli.options import (
    AsJson,
    Assignments,
    ConfigFiles,
    Corpus,
    Database,
    Device,
    EachSeed,
    EvalCorpus,
    FirstSeed,
    MirrorTo,
    Runs,
    Seeds,
    config_layers,
    print_data,
    trackers_of,
)
from eetui.cli.options import output as console
from eetui.cli.selection import expanded, selected
from eetui.drawing.formats import require_format

MOST_CURVES = 30
"""Number of runs up to which files say how far they lie below their static depths: it takes a second a run."""

if TYPE_CHECKING:
    from eetui.compare.comparison import Comparison
    from eetui.compare.run_view import RunView


def compare(
    runs: Runs = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            "--group-by",
            metavar="KEYS",
            help="Group by config keys or figures, such as method,hard_ratio, and compare every pair.",
        ),
    ] = None,
    output: Annotated[str, typer.Option("--format", help=f"{listed(CHOICES['compare --format'])}.")] = "table",
    only_changed: Annotated[bool, typer.Option("--only-changed", help="Leave out rows in which all agree.")] = False,
    each_seed: EachSeed = False,
    baseline: Annotated[
        str | None, typer.Option(metavar="RUN", help="Run to compare the others with; added if it is not among them.")
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="NAMES",
            help="Only these rows, in this order, such as ppl,savings,'block*.threshold'; --json names all.",
        ),
    ] = None,
    as_json: AsJson = False,
    *,
    db: Database,
) -> None:
    """Print runs side by side: results, training, differing config, and recommended runs."""
    from eetui.compare import tables_text as rendered
    from eetui.compare.chosen_rows import unknown, with_rows
    from eetui.compare.comparison import compare as compare_runs

    output = "json" if as_json else output
    require_format(output, CHOICES["compare --format"])
    names = _metric_names(metrics, only_changed=only_changed)
    if group_by is not None:
        if only_changed or each_seed or baseline is not None:
            raise UsageError("--group-by goes with neither --only-changed nor --each-seed nor --baseline")
        print_groups(runs or [], group_by, output, db, names)
        return
    views = views_of(runs or [], db)
    base = None if baseline is None else _baseline(baseline, db)
    if base is not None and base.name not in [view.name for view in views]:
        views.insert(0, base)
    result = compare_runs(
        views, group_seeds=not each_seed, only_changed=only_changed, baseline=base.name if base else None
    )
    if unknown(names, result) if names else output != "table":
        result = _with_savings(result, db, only_changed=only_changed)
    if names:
        result = with_rows(result, names)
    if output == "table":
        out = console()
        out.print(rendered.as_tables(result, out.width))
    elif output == "latex":
        from eetui.compare.latex import as_latex

        print_data(as_latex(result))
    else:
        texts = {"md": rendered.as_markdown, "csv": rendered.as_csv, "json": rendered.as_json}
        print_data(texts[output](result))


def _baseline(reference: str, db: Path) -> "RunView":
    """Return the one run that a reference stands for.

    Raises:
        UsageError: it stands for several, or as for `views_of`.
    """
    found = views_of([reference], db)
    if len(found) > 1:
        raise UsageError(f"--baseline takes one run, and {reference!r} stands for {len(found)}: name one")
    return found[0]


def _metric_names(text: str | None, *, only_changed: bool) -> list[str]:
    from eetui.compare.chosen_rows import metric_names

    if text is not None and only_changed:
        raise UsageError("--metrics and --only-changed exclude each other: rows are named, or those that differ")
    return [] if text is None else metric_names(text)


def print_groups(words: Sequence[str], group_by: str, output: str, db: Path, metrics: Sequence[str] = ()) -> None:
    """Print the runs in groups, and the difference of every pair of groups.

    Args:
        metrics: figures to print (`eetui.compare.chosen_rows`); empty: all.

    Raises:
        UsageError: a key or a metric is unknown, or no run can be grouped.
        StoreError: the database can't be opened.
    """
    from core.store.reader import Reader
    from eetui.compare import groups_text as rendered
    from eetui.compare.chosen_rows import with_figures
    from eetui.compare.groups import group_runs

    names = [name.strip() for name in group_by.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise UsageError(f"--group-by takes different keys with commas between them, got {group_by!r}")
    with Reader(db) as reader:
        grouping = group_runs(reader, selected(reader, words), names)
    if metrics:
        grouping = with_figures(grouping, metrics)
    if output == "table":
        console().print(rendered.as_tables(grouping))
    elif output == "latex":
        from eetui.compare.latex import groups_as_latex

        print_data(groups_as_latex(grouping))
    else:
        texts = {"md": rendered.as_markdown, "csv": rendered.as_csv, "json": rendered.as_json}
        print_data(texts[output](grouping))


def _with_savings(comparison: "Comparison", db: Path, *, only_changed: bool) -> "Comparison":
    """Add how far the runs lie below their static depths, for files; it takes a second a run and imports NumPy."""
    from core.store.reader import Reader
    from eetui.compare.report_runs import PREFIX

    if sum(len(column.runs) for column in comparison.columns) > MOST_CURVES:
        note = f"more than {MOST_CURVES} runs: how far they lie below their static depths is left out"
        return replace(comparison, notes=(*comparison.notes, note))
    if all(run.name.startswith(PREFIX) for column in comparison.columns for run in column.runs):
        return comparison  # no database to look into
    from eetui.compare.savings_curves import area_rows, column_curves, stored_curves
    from eetui.compare.savings_gaps import better_before, curve_notes

    with Reader(db) as reader:
        tried = stored_curves(reader, comparison)
    rows = area_rows(comparison.columns, column_curves(comparison, tried))
    kept = tuple(row for row in rows if row.changes or not only_changed)
    notes = (*comparison.notes, *curve_notes(comparison, tried), *better_before(comparison, tried))
    return replace(comparison, further=(("savings", kept),) if kept else (), notes=notes)


def views_of(references: Sequence[str], db: Path) -> "list[RunView]":
    """Return the runs to compare; the database is opened only if one of them is stored in it.

    Raises:
        UsageError: there is no such run or column of the report.
        StoreError: the database can't be opened.
    """
    from core.store.reader import Reader
    from eetui.compare.report_runs import PREFIX, report_names, report_view
    from eetui.compare.run_view import stored_view

    views: dict[str, RunView] = {}
    reader: Reader | None = None
    try:
        stored = not references or any(not reference.startswith(PREFIX) for reference in references)
        reader = Reader(db) if stored else None
        for reference in references if reader is None else expanded(reader, references):
            view = report_view(reference)
            if view is None and (reader is None or reference.startswith(PREFIX)):
                raise UsageError(f"there is no {reference!r}: the report's columns are {', '.join(report_names())}")
            if view is None and reader is not None:
                view = stored_view(reader, reader.find(reference))
            assert view is not None
            views[view.name] = view
    finally:
        if reader is not None:
            reader.__exit__()
    return list(views.values())


def ablate(
    method: Annotated[str, typer.Option("--method", "-m", help="Exit method, a name or your own file.")] = "loss",
    preset_from: Annotated[str, typer.Option("--preset-from", help="Preset whose protocol is taken apart.")] = "seed",
    config: ConfigFiles = None,
    assign: Assignments = None,
    corpus: Corpus = None,
    eval_corpus: EvalCorpus = None,
    seed: FirstSeed = None,
    seeds: Seeds = 1,
    device: Device = None,
    name: Annotated[str, typer.Option(help="What the runs' names begin with.")] = "ablate",
    mirror: MirrorTo = None,
    as_json: AsJson = False,
    *,
    db: Database,
) -> None:
    """Turn each switch of the sound preset alone, then all of them in turn; train what is missing, show the table."""
    from core.store.reader import Reader
    from core.store.writer import Writer
    from eetui.compare.ablation import ablation_lines, plan_ablation, plan_of, stored_runs
    from eetui.compare.ablation_text import ablation_json, ablation_table

    layers = config_layers(
        preset_from, config, assign, corpus=corpus, eval_corpus=eval_corpus, seed=seed, device=device
    )
    ablation = plan_ablation(layers, preset=preset_from, method=method, seeds=seeds, name=name)
    mirrors = trackers_of(mirror)
    with Writer(db), Reader(db) as reader:  # a writer creates the database and marks dead runs interrupted
        views, missing = stored_runs(ablation, reader)
    code = 0
    if missing:
        from eetui.cli.headless import train_headless
        from eetui.cli.train import request_for

        code = train_headless(request_for(plan_of(ablation, missing)), db, mirrors=mirrors)
        with Reader(db) as reader:
            views, _ = stored_runs(ablation, reader)
    lines = ablation_lines(ablation, views)
    if as_json:
        print(ablation_json(ablation, lines))
    else:
        out = console()
        out.print(ablation_table(ablation, lines, out.width))
    raise typer.Exit(code)
