"""Preparation of a plan: load its dataset, resolve its configs, queue its runs in the store."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.config.derived import dataset_settings
from core.config.run_config import RunConfig, rebuilt
from core.config.stored import is_imported
from core.data.windows import Dataset, load_dataset
from core.errors import UsageError
from core.estimate.memory_check import require_memory, require_states
from core.estimate.workload import Sizes
from core.extensions.imported import no_model
from core.machine.pace import NO_OUTLOOK, Outlook
from core.parallel.launch import Launch, launch
from core.parallel.world import require_devices
from core.protocol.resolve import resolve_all
from core.session.plan import Plan
from core.session.provenance import code_state, reproduction_record
from core.stages.price import check_price
from core.store.new_runs import NewRun
from core.store.reader import Reader
from core.store.tokens import EvaluationText
from core.store.writer import Writer


@dataclass(frozen=True)
class Prepared:
    """A plan whose dataset is loaded and whose runs are queued in the store."""

    configs: tuple[RunConfig, ...]
    runs: tuple[int, ...]
    dataset: Dataset
    profile: bool = False
    outlook: Outlook = NO_OUTLOOK


def prepare(plan: Plan, store: Writer, workers: int = 1) -> Prepared:
    """Check all that can be checked before training, then queue the runs.

    Args:
        workers: processes elsewhere that are to train each run together.

    Raises:
        UsageError: the corpus, a device, a name or a user's own exit method can't be used, or no thresholds reach a
            target; nothing is stored.
    """
    store.require_free(plan.names)  # before a model or a corpus is looked at
    checked = check(plan, workers)
    runs = store.create_experiment(checked.new)
    keep_text(checked.dataset, store)
    outlook = Outlook(_joined(checked.remark, store.remark), plan.speed)
    return Prepared(checked.configs, tuple(runs), checked.dataset, plan.profile, outlook)


@dataclass(frozen=True)
class Checked:
    """A plan of which all is checked that can be before training, and nothing is stored.

    Attributes:
        configs: resolved, one for each run.
        remark: on the number of threads, if there is one.
    """

    configs: tuple[RunConfig, ...]
    new: list[NewRun]
    dataset: Dataset
    remark: str = ""


def check(plan: Plan, workers: int = 1) -> Checked:
    """Load the dataset of a plan, resolve its configs, and check all that can be checked.

    Args:
        workers: processes elsewhere that are to train each run together.

    Raises:
        UsageError: the corpus, a device or a user's own exit method can't be used, or no thresholds reach a target.
    """
    configs, remark = resolve_all(plan.configs)
    processes = _processes(configs, workers)
    dataset = shared_dataset(configs)
    for config in configs:
        check_price(config, dataset.vocabulary.size)
    code = code_state()
    new = [
        NewRun(
            name=name,
            method=config.method_name,
            seed=config.seed,
            preset=plan.preset,
            config=config.model_dump_json(),
            record=reproduction_record(config, dataset, code) | {"profile": plan.profile} | processes,
            tags=plan.tags,
        )
        for config, name in zip(configs, plan.names, strict=True)
    ]
    return Checked(configs, new, dataset, remark)


def keep_text(dataset: Dataset, store: Writer) -> None:
    """Store the evaluation text of a dataset, which its runs are looked into with."""
    store.keep_text(dataset.fingerprint, _evaluation_text(dataset))


def prepare_resume(runs: Sequence[int], store: Writer, workers: int = 1) -> Prepared:
    """Queue interrupted or failed runs again, to resume from their checkpoints.

    Args:
        workers: processes elsewhere that are to train each run together.

    Raises:
        UsageError: a run does not exist, has finished or is live, its corpus or its own exit method changed, its device
            is gone, or the runs do not share their data; nothing is changed.
    """
    with Reader(store.path) as reader:
        rows = [reader.run(number) for number in sorted(set(runs))]
    for row in rows:
        if is_imported(row):
            raise UsageError(no_model(f"{row['name']} (run {row['id']})", "be resumed"))
        if row["status"] not in ("interrupted", "failed"):
            raise UsageError(
                f"{row['name']} (run {row['id']}) is {row['status']}: only a run that was interrupted or failed can be "
                f"resumed; to train it again, start a new one with eetui run"
            )
    configs, _ = resolve_all([rebuilt(row["config"], f"run {row['id']}") for row in rows])
    _processes(configs, workers)
    dataset = shared_dataset(configs)
    for row in rows:
        require_text(row, configs[0], dataset)
    numbers = tuple(int(row["id"]) for row in rows)
    store.requeue(numbers)
    keep_text(dataset, store)
    return Prepared(configs, numbers, dataset, any(row["record"].get("profile") for row in rows), Outlook(store.remark))


def shared_dataset(configs: Sequence[RunConfig]) -> Dataset:
    """Load the dataset of all these configs.

    Raises:
        UsageError: there are no configs, they share no dataset, it can't be read, or memory or disk are too small.
    """
    if not configs:
        raise UsageError("an experiment needs at least one run")
    settings = dataset_settings(configs[0])
    if any(dataset_settings(config) != settings for config in configs):
        raise UsageError("the runs of an experiment must share their data, batch size and pretrained model")
    require_memory(configs)
    dataset = load_dataset(*settings)
    sizes = Sizes.of(dataset)
    require_memory(configs, sizes)
    require_states(configs[0], sizes)
    return dataset


def _processes(configs: Sequence[RunConfig], workers: int) -> dict[str, int]:
    """Return a record's entry on how many processes train a run together, where there are several.

    Args:
        workers: processes elsewhere, each of which sees the devices that it has for itself.

    Raises:
        ConfigError: there is no device for each.
    """
    launched = Launch(0, workers, 0, 1) if workers > 1 else launch()
    for config in configs:
        require_devices(config.machine.device, launched)
    return {"processes": launched.size} if launched else {}


def require_text(row: Mapping[str, Any], config: RunConfig, dataset: Dataset) -> None:
    """Refuse to go on with a stored run whose text is another by now.

    Raises:
        UsageError: it is.
    """
    if row["record"].get("fingerprint") != dataset.fingerprint:
        raise UsageError(
            f"the corpus {config.data.corpus} is no longer the text that {row['name']} (run {row['id']}) was "
            f"trained on{_changed_readers(row['record'], dataset)}: restore it, or start a new run with eetui run"
        )


def _joined(*remarks: str) -> str:
    return "; ".join(remark for remark in remarks if remark)


def _changed_readers(record: Mapping[str, Any], dataset: Dataset) -> str:
    """That the user's own readers are others than a run's record says, where they are."""
    before = {key: record[key]["sha256"] for key in ("corpus_reader", "eval_corpus_reader") if key in record}
    now = {key: reader["sha256"] for key, reader in dataset.readers.items()}
    return "" if before == now else ", and its reader has changed"


def _evaluation_text(dataset: Dataset) -> EvaluationText:
    windows, vocabulary = dataset.evaluation, dataset.vocabulary
    stream = array("i", [int(windows.inputs[0, 0]), *windows.targets.flatten().tolist()])
    return EvaluationText(vocabulary.tokens(range(vocabulary.size)), stream)
