"""Runs from Python: read what a database holds, and train.

    import eetui

    with eetui.Database("runs.db") as database:
        for run in database.runs("method:loss ppl<900", sort="ppl"):
            print(run.name, run.metrics["final_ppl"], run.config["train.lr"])
        table = run.tokens()  # NumPy arrays: cross_entropy [K, N], signal [E, N], …

    for run, event in eetui.train(["loss"], preset="quick", db="runs.db"):
        print(run, event)

`import eetui` alone takes milliseconds: torch is imported by the first training, NumPy by the first token table, pandas
by the first data frame. Every name here stays; `core` is importable too, and changes with the experiment.
"""

import logging
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from core.config.stored import completed, told
from core.errors import UsageError
from core.events import Epoch, Event, Way
from core.metrics import run_metrics
from core.state import RunState, Status
from core.store.reader import Reader
from eetui.runs.filters import parse

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from core.analysis.text_generator import TextGenerator
    from core.analysis.token_table import TokenTable
    from core.session.plan import Plan
    from eetui.trackers.contract import Trackers

Values = Mapping[str, Any]


class Database:
    """The runs of one database, read only; other processes may train into it meanwhile.

    Closed by `close`, or at the end of a `with` block; runs that were read before keep what they have read.
    """

    def __init__(self, path: str | PathLike[str] = "runs.db") -> None:
        """Open an existing database.

        Raises:
            StoreError: there is none, or it can't be read.
        """
        self.path = Path(path)
        self._reader = Reader(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __iter__(self) -> Iterator["Run"]:
        return iter(self.runs())

    def __len__(self) -> int:
        return self._reader.count()

    def __getitem__(self, reference: int | str) -> "Run":
        return self.run(reference)

    def close(self) -> None:
        """Close the database."""
        self._reader.close()

    def runs(self, filter: str = "", *, sort: str = "id", descending: bool = False) -> list["Run"]:  # noqa: A002
        """Find runs, in the language of `eetui ls`.

        Args:
            filter: words such as `method:loss ppl<900 tag:x status:finished text`; a run must satisfy all.
            sort: column to sort by, such as `id`, `name`, `ppl`, `accuracy`, `savings`, `created`.

        Raises:
            UsageError: an unknown field or column, or a figure that is no number.
        """
        query = parse(filter.split(), sort, descending=descending)
        return [Run(self._reader, int(row["id"])) for row in self._reader.runs(query, ("id",))]

    def run(self, reference: int | str) -> "Run":
        """Find one run by its number, its name, or a unique prefix of its name.

        Raises:
            RunLookupError: none, or several.
        """
        return Run(self._reader, self._reader.find(str(reference)))

    def latest(self) -> list["Run"]:
        """Return the runs of the newest experiment that has a finished run, in order.

        Raises:
            RunLookupError: no run has finished yet.
        """
        return [Run(self._reader, number) for number in self._reader.latest_experiment()]

    def frame(self, filter: str = "", *, sort: str = "id", descending: bool = False) -> "pd.DataFrame":  # noqa: A002
        """Return a data frame of runs, one row each: what they are, then every metric by its key.

        Raises:
            UsageError: pandas is not installed, or as for `runs`.
        """
        found = self.runs(filter, sort=sort, descending=descending)
        rows = [{"id": run.number, **{name: getattr(run, name) for name in _FACTS}, **run.metrics} for run in found]
        return _pandas().DataFrame(rows, columns=None if rows else ["id", *_FACTS])


_FACTS = ("name", "method", "seed", "status", "preset", "tags")


class Run:
    """One stored run. Each attribute is read once, when it is first asked for."""

    def __init__(self, reader: Reader, number: int) -> None:
        self._reader, self.number = reader, number

    def __repr__(self) -> str:
        return f"<eetui.Run {self.number} {self.name!r} {self.status}>"

    @cached_property
    def _row(self) -> dict[str, Any]:
        return self._reader.run(self.number)

    @property
    def name(self) -> str:
        return str(self._row["name"])

    @property
    def method(self) -> str:
        """Name of the exit method."""
        return str(self._row["method"])

    @property
    def seed(self) -> int:
        return int(self._row["seed"])

    @property
    def preset(self) -> str | None:
        """Name of the preset that the config began with."""
        preset = self._row["preset"]
        return None if preset is None else str(preset)

    @property
    def status(self) -> Status:
        """Status when the run was read: queued, running, finished, failed or interrupted."""
        status: Status = self._row["status"]
        return status

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(self._row["tags"])

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(note["text"] for note in self._row["notes"])

    @property
    def record(self) -> Values:
        """Reproduction record: corpus, fingerprint, versions, code state, host, command line."""
        record: Values = self._row["record"]
        return record

    @cached_property
    def config(self) -> Values:
        """The resolved config by dotted names, such as `train.lr`; fields newer than the run hold what it did.

        Of an imported run it has None where nothing is known, of a logged one also what the loop told.
        """
        return told(self._row)

    @cached_property
    def state(self) -> RunState:
        """The run as its events tell it: stages with their epochs, thresholds, measurements, savings, warnings."""
        return self._reader.state(self.number)

    @cached_property
    def metrics(self) -> Mapping[str, float]:
        """Every figure of the run by its key, such as `final_ppl`, `block0.avg_label` or `eval.all blocks`."""
        config = completed(self._row["config"])
        return {metric.key: value for metric, value in run_metrics(self.state, config).items()}

    def events(self, *, steps: bool = True) -> list[Event]:
        """Read the run's events in order.

        Args:
            steps: whether to read single steps, most of a log, too.
        """
        return self._reader.events(self.number, steps=steps)[0]

    def window_losses(self, way: Way = "early exit", block: int | None = None) -> "NDArray[np.float64]":
        """Return the mean loss of each evaluation window in nats, float64 `[W]`; empty where it was not kept."""
        import numpy as np

        return np.asarray(self._reader.window_losses(self.number, way, block), np.float64)

    def tokens(self) -> "TokenTable":
        """Read every block's statistics of every evaluated token, as NumPy arrays.

        Raises:
            UsageError: the run keeps none: it did not finish, or was trained before they were kept.
        """
        from core.analysis.stored_run import evaluated_tokens, stored_run

        return evaluated_tokens(self._reader, stored_run(self._reader, self.number))[0]

    def vocabulary(self) -> Sequence[str]:
        """Return the text of every vocabulary entry, for the `inputs`, `targets` and `prediction` of `tokens`.

        Raises:
            UsageError: the evaluated text was not kept.
        """
        text = self._reader.text(self.record["fingerprint"])
        if text is None:
            raise UsageError(f"{self.name} has no evaluation text in its database: it was trained before that was kept")
        return text.vocabulary

    def epochs_frame(self) -> "pd.DataFrame":
        """Return a data frame of all epochs: stage, kind, block, and the fields of `core.events.Epoch`.

        Raises:
            UsageError: pandas is not installed.
        """
        stages = self.state.stages
        rows = [
            {"kind": stage.kind, "block": stage.block, **asdict(epoch)} for stage in stages for epoch in stage.history
        ]
        columns = None if rows else ["kind", "block", *(field.name for field in fields(Epoch))]
        return _pandas().DataFrame(rows, columns=columns)

    def tokens_frame(self) -> "pd.DataFrame":
        """Return a data frame of all tokens: input, target, and each block's figures as `block0.cross_entropy`, ….

        Raises:
            UsageError: pandas is not installed, or as for `tokens`.
        """
        table = self.tokens()
        columns: dict[str, Any] = {"input": table.inputs, "target": table.targets}
        for name in ("cross_entropy", "signal", "max_prob", "prediction"):
            columns |= {f"block{block}.{name}": values for block, values in enumerate(getattr(table, name))}
        return _pandas().DataFrame(columns)


class Training:
    """An experiment in training, in a thread of its own: iterate over it for `(run number, event)`.

    Every event is stored before it comes here. Leaving the loop early stops the experiment after its step, with a
    checkpoint: the run is interrupted and can be resumed. Training does not wait for the loop.

    Attributes:
        runs: numbers of the runs, in order.
        statuses: how each run ended, once the loop is through.
    """

    def __init__(self, plan: "Plan", db: Path, mirrors: "Trackers" = ()) -> None:
        """Read the corpus, queue the runs in the database, and start to train.

        Args:
            mirrors: trackers that get the events too (`eetui.trackers.live.parsed`); what is wrong with one is logged.

        Raises:
            UsageError: the corpus, a device or a name is no good; nothing is stored.
        """
        from core.session.prepare import prepare
        from core.store.writer import Writer

        self.statuses: tuple[Status, ...] = ()
        self._db, self._trackers = db, mirrors
        self._stop = threading.Event()
        self._events: queue.SimpleQueue[tuple[int, Event] | BaseException | None] = queue.SimpleQueue()
        self._writer = Writer(db)
        try:
            self._prepared = prepare(plan, self._writer)
        except BaseException:
            self._writer.close()
            raise
        self.runs = self._prepared.runs
        self._thread = threading.Thread(target=self._train, name="eetui training", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[tuple[int, Event]]:
        try:
            while (item := self._events.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.stop()
            self._events.put(None)  # another loop over it ends too

    def stop(self) -> None:
        """Finish the step, write the checkpoint, and end; returns when that is done."""
        self._stop.set()
        self._thread.join()

    def _train(self) -> None:
        from core.session.run import run_experiment
        from eetui.trackers.live import Mirrors, with_mirrors

        def publish(run: int, events: Sequence[Event]) -> None:
            for event in events:
                self._events.put((run, event))

        mirrors = Mirrors(self._trackers, self._db, logging.getLogger("eetui").warning)
        try:
            with mirrors.running():
                told = with_mirrors(publish, mirrors)
                self.statuses = tuple(run_experiment(self._prepared, self._writer, told, self._stop.is_set))
        except BaseException as error:  # it is raised where the events are read
            self._events.put(error)
        finally:
            self._writer.close()
            self._events.put(None)


def train(
    methods: Sequence[str] = (),
    *,
    preset: str | None = None,
    config: Values | None = None,
    seeds: int = 1,
    name: str | None = None,
    tags: Sequence[str] = (),
    db: str | PathLike[str] = "runs.db",
    mirror: Sequence[str] = (),
) -> Training:
    """Start an experiment, one run for each method and seed.

    Args:
        methods: exit methods; none: the config's, or the report's three.
        preset: `sound` (the default), `seed`, `quick`, …
        config: values by dotted or leaf names, such as `{"data.corpus": "text.txt", "lr": 3e-4}`.
        seeds: number of consecutive seeds.
        name: name of the run; several get method and seed added.
        db: database, which is created if it is missing.
        mirror: trackers that are told of the runs too, offline, such as `["tensorboard:logs"]`.

    Raises:
        ConfigError: a value is not valid.
        UsageError: the corpus, a device, a name or a tracker is no good; nothing is stored.
    """
    from core.config.run_config import DEFAULT_PRESET, Layer, preset_layer
    from core.session.plan import plan_from
    from eetui.trackers.live import parsed

    preset = preset or DEFAULT_PRESET
    layers = [preset_layer(preset), Layer("config", dict(config or {}))]
    plan = plan_from(layers, methods, seeds, preset=preset, name=name, tags=tags)
    return Training(plan, Path(db), parsed(mirror))


def load_adapter(folder: str | PathLike[str], base: str | None = None) -> "TextGenerator":
    """Load exits that `eetui export --adapter` wrote, with their base model; no database is needed.

    Args:
        base: where the base model is, if it has moved.

    Raises:
        UsageError: the folder holds no adapter, or the base model is gone or another one.
    """
    from core.analysis.adapter import load_adapter as load

    return load(Path(folder), base)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise UsageError("data frames need pandas: pip install pandas") from error
    return pandas
