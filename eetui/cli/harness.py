"""The command that runs tasks of lm-evaluation-harness at chosen exits, and the text of its result."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from core.config.messages import shortened
from core.errors import ConfigError, UsageError
from eetui.cli.options import AsJson, Database, Device, Reference, output, print_data, reading
from eetui.drawing.formats import json_text

if TYPE_CHECKING:
    from core.analysis.text_generator import TextGenerator
    from core.config.run_config import RunConfig

EARLY, ALL = "early", "all"


def lm_eval(
    reference: Reference,
    task: Annotated[list[str], typer.Option("--task", help="Task, repeatable.")],
    exit_: Annotated[
        list[str] | None,
        typer.Option("--exit", help="early, all, or the number of a block; repeatable. [default: early and all]"),
    ] = None,
    include: Annotated[Path | None, typer.Option(help="Folder of your own tasks (YAML).", file_okay=False)] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Documents of each task.")] = None,
    device: Device = None,
    as_json: AsJson = False,
    *,
    db: Database,
) -> None:
    """Run tasks of lm-evaluation-harness with a run's model, at early exit and at fixed depths."""
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # read as tqdm is imported, which torch may do
    from core.analysis.text_generator import open_generator
    from core.protocol.resolve import resolve_device

    if include is not None and not include.is_dir():
        raise UsageError(f"--include takes a folder, and {include} is none")
    harness, manager = _harness(include, task)
    where, exits = resolve_device(device or "cpu"), exit_ or (EARLY, ALL)
    with reading(db, exact=as_json) as reader:
        generator = open_generator(reader, reader.find(reference), lambda config: blocks_of(exits, config))
    found = {
        name: _evaluated(harness, manager, generator, block, task, limit, where)
        for name, block in blocks_of(exits, generator.config).items()
    }
    if as_json:
        print_data(json_text({"run": generator.number, "exits": found}))
    else:
        output().print(results_table(found))


def results_table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """Tabulate results: a row for each metric of a task, a column for each exit."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head in ("Task", "Metric"):
        table.add_column(head)
    for name in found:
        table.add_column({EARLY: "early exit", ALL: "all blocks"}.get(name, f"block {name}"), justify="right")
    rows = dict.fromkeys(
        (task, metric) for one in found.values() for task in one["tasks"] for metric in one["tasks"][task]
    )
    for task, metric in rows:
        table.add_row(task, metric, *(f"{one['tasks'][task][metric]:.4f}" for one in found.values()))
    table.add_row("all", "layers saved", *(f"{one['layers_saved']:.1%}" for one in found.values()))
    return table


def _harness(include: Path | None, tasks: list[str]) -> tuple[Any, Any]:
    """Import lm-evaluation-harness; return it, and its tasks: the user's own, and its own where these do not do.

    Raises:
        ConfigError: it is not installed.
        UsageError: it has no such task.
    """
    os.environ.setdefault("LMEVAL_LOG_LEVEL", "ERROR")
    try:
        import lm_eval
        from lm_eval import evaluator
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise ConfigError(f"tasks need the package lm-eval ({error}): pip install 'eetui[lm-eval]'") from error
    evaluator.get_git_commit_hash = str  # else git complains on the terminal in every folder that is no repository
    manager = TaskManager(include_path=include and str(include), include_defaults=False)
    if not set(tasks) <= set(manager.all_tasks):
        manager = TaskManager(include_path=include and str(include))
    if unknown := [task for task in tasks if task not in manager.all_tasks]:
        where = f" in {include}" if include else ""
        raise UsageError(
            f"there is no task {unknown[0]}{where} that can be read, nor among lm-eval's own: lm-eval ls tasks lists "
            f"these, --include names a folder of others"
        )
    return lm_eval, manager


def blocks_of(names: Sequence[str], config: "RunConfig") -> dict[str, int | None]:
    """Return the block that predicts every token at each exit, by the exit's name; None: early exit.

    Raises:
        UsageError: the run has no such exit, or can't answer tasks there.
    """
    from core.analysis.harness import check_exit

    found: dict[str, int | None] = {}
    for name in names:
        if name not in (EARLY, ALL) and not (name.isdecimal() and len(name) < 10):
            raise UsageError(f"--exit must be {EARLY}, {ALL} or the number of a block, got {shortened(name)!r}")
        last = len(config.model.block_layers) - 1
        found[name] = None if name == EARLY else last if name == ALL else int(name)
        check_exit(config, found[name])
    return found


def _evaluated(
    harness: Any,
    manager: Any,
    generator: "TextGenerator",
    block: int | None,
    tasks: list[str],
    limit: int | None,
    device: str,
) -> dict[str, Any]:
    """Run the tasks at one exit; return the figures of each task, and the layers saved.

    Raises:
        UsageError: a task can't be had.
    """
    from core.analysis.harness import ExitsLM

    model = ExitsLM(generator, block, device)
    from jinja2 import TemplateError

    try:
        results = harness.simple_evaluate(
            model, tasks=tasks, limit=limit, task_manager=manager, bootstrap_iters=0, log_samples=False
        )
    except (OSError, ValueError, TemplateError) as error:  # a data set that is not there, or has no such field
        raise UsageError(
            f"the tasks can't be run: {type(error).__name__}: {' '.join(str(error).split()):.300}; check the task's "
            f"file, and the network where its texts are on the hub"
        ) from error
    figures = {
        task: {
            key.removesuffix(",none"): value
            for key, value in metrics.items()
            if isinstance(value, float) and "_stderr" not in key
        }
        for task, metrics in results["results"].items()
    }
    return {"tasks": figures, "layers_saved": model.layers_saved}
