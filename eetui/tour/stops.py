"""The stops of the tour: which screen each shows, of which runs, and what it says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.errors import UsageError
from core.store.reader import Query, Reader

FINISHED = "status = 'finished'"
LOOKED_INTO = f"{FINISHED} AND id IN (SELECT run_id FROM token_statistics)"
"""Runs that Inspect opens: those whose tokens were kept."""


@dataclass(frozen=True)
class Stop:
    """One stop.

    Attributes:
        screen: name of the screen that it opens; None is the list of runs.
        runs: finds the runs to open it for.
        action: action of that screen that follows.
    """

    title: str
    text: str
    screen: str | None = None
    runs: Callable[[Reader], Sequence[int]] = lambda _: ()
    action: str | None = None


def require_runs(reader: Reader) -> None:
    """Refuse a database that has nothing to show.

    Raises:
        UsageError: no run in it is finished.
    """
    if not reader.count(Query(FINISHED)):
        raise UsageError(
            f"a tour needs finished runs, and {reader.path} has none: name the runs.db of the repository with --db, or "
            f"train some first with eetui run --preset quick"
        )


def trained_as_reported(reader: Reader) -> tuple[int, ...]:
    """Return the run to look at stage by stage: the newest one of preset `seed` and method loss, or the newest."""
    return _newest(reader, "preset = 'seed' AND method = 'loss'", "method = 'loss'", "method = 'distill'")


def with_a_price(reader: Reader) -> tuple[int, ...]:
    """Return the run to look at by price: the newest one whose exits have a price, or the newest."""
    priced = "json_extract(config, '$.exit.policy') != 'quantile'"
    return _newest(reader, f"{priced} AND method = 'gain'", priced)


def methods_of_one_seed(reader: Reader) -> tuple[int, ...]:
    """Return one run of each method, all of one experiment and seed: of the experiment with the most methods."""
    rows = reader.runs(Query(FINISHED, descending=True, limit=200), ("id", "experiment", "seed", "method"))
    groups: dict[tuple[object, object], dict[str, int]] = {}
    for row in rows:
        groups.setdefault((row["experiment"], row["seed"]), {})[row["method"]] = row["id"]
    return tuple(sorted(max(groups.values(), key=len).values()))


def _newest(reader: Reader, *preferred: str) -> tuple[int, ...]:
    for where in (*(f"{LOOKED_INTO} AND {each}" for each in preferred), LOOKED_INTO, FINISHED):
        if rows := reader.runs(Query(where, descending=True, limit=1), ("id",)):
            return (rows[0]["id"],)
    return ()


STOPS = (
    Stop(
        "the runs",
        "Every run of the database, with its perplexity and what it saved. / filters the list, space marks runs, c "
        "compares the marked ones, ? shows all keys of a screen. In the console itself (eetui) n sets up runs of your "
        "own, which train in the background while you look at others; the tour only reads.",
    ),
    Stop(
        "a run, stage by stage",
        "Block by block the model was trained, then its exit: loss, avg_label (how sure the exit may be) and the "
        "threshold above which a token leaves. A run in training looks just like this, and moves. up and down choose a "
        "stage, v switches between nats and PPL.",
        "live",
        trained_as_reported,
    ),
    Stop(
        "methods side by side",
        "The same blocks, left by different exits. A star is given only where a difference is clear, over seeds and "
        "windows. 4 shows the curves, and 5 the trade of perplexity against savings, where the dotted line is what the "
        "same model reaches at a fixed number of layers: an exit is worth its name only below it.",
        "compare",
        methods_of_one_seed,
    ),
    Stop(
        "where the perplexity went",
        "The final PPL of the report's protocol is twice the training one. The diagnosis leads from one to the other, "
        "in nats, one change at a time: other text, a head that drifted under an earlier block, tokens that left. d "
        "closes it.",
        "inspect",
        trained_as_reported,
        "diagnosis",
    ),
    Stop(
        "one price for every exit",
        "A token leaves where going on costs more than it is expected to win. left and right move the price (or one "
        "threshold, until p asks for a price); the figures and the text follow at once, without the model. 4 shows "
        "what the exit's signal is worth. That was the tour: escape leads back, q quits, and eetui opens the console "
        "that trains.",
        "inspect",
        with_a_price,
    ),
)
