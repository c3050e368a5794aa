"""What trackers hold, read with their own readers, in one shape for all."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class Read:
    """A run in a tracker: figures of one curve by step, final figures by name, params, tables by name, tags, status."""

    curve: list[tuple[int, float]]
    final: dict[str, float]
    params: dict[str, str]
    tables: dict[str, str]
    tags: str
    status: str


CURVE = "block0.lm/val_loss"


def read_tensorboard(folder: Path) -> list[Read]:
    """Read every run with TensorBoard's accumulator."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from tensorboard.plugins.hparams import plugin_data_pb2

    found = []
    for place in sorted(folder.iterdir()):
        events = accumulator.EventAccumulator(str(place)).Reload()
        others = ("_", "block", "final/", "evaluation")
        tensors = [tag for tag in events.Tags()["tensors"] if not tag.startswith(others)]
        texts = {tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in tensors}
        hparams = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        start = plugin_data_pb2.HParamsPluginData.FromString(hparams).session_start_info
        end = events.summary_metadata["_hparams_/session_end_info"].plugin_data.content
        ended = plugin_data_pb2.HParamsPluginData.FromString(end).session_end_info.status
        scalars = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
        params = {name: value.string_value or str(value.number_value) for name, value in start.hparams.items()}
        found.append(
            Read(
                [(point.step, point.value) for point in scalars[CURVE]],
                {tag[6:]: points[0].value for tag, points in scalars.items() if tag.startswith("final/")},
                params, texts, texts["tags"], {1: "finished", 2: "failed"}.get(ended, str(ended)),
            )
        )  # fmt: skip
    return found


def read_mlflow(folder: Path) -> list[Read]:
    """Read every run with MLflow's client."""
    pytest.importorskip("mlflow")
    from mlflow.artifacts import load_text
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'eetui'")
    found = []
    for run in client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"]):
        number = run.info.run_id
        curve = [(point.step, point.value) for point in client.get_metric_history(number, CURVE)]
        tables = {file.path.removesuffix(".csv"): file.path for file in client.list_artifacts(number)}
        texts = {name: load_text(f"{run.info.artifact_uri}/{path}") for name, path in tables.items()}
        status = {"FINISHED": "finished", "FAILED": "failed"}.get(run.info.status, run.info.status)
        found.append(Read(curve, run.data.metrics, run.data.params, texts, str(run.data.tags), status))
    return found


def read_trackio(folder: Path) -> list[Read]:
    """Read every run with Trackio's storage."""
    storage = pytest.importorskip("trackio.sqlite_storage").SQLiteStorage
    found = []
    for name in sorted(storage.get_runs("eetui")):
        logs, config = storage.get_logs("eetui", name), storage.get_run_config("eetui", name)
        final = {key[6:]: value for log in logs for key, value in log.items() if key.startswith("final/")}
        tables = {key[7:]: str(value) for log in logs for key, value in log.items() if key.startswith("tables/")}
        tags = str({key: value for key, value in config.items() if key.startswith("tag")})
        curve = [(log["step"], log[CURVE]) for log in logs if CURVE in log]
        found.append(Read(curve, final, {key: str(value) for key, value in config.items()}, tables, tags, ""))
    return found


def read_wandb(folder: Path) -> list[Read]:
    """Read every run's transaction log, once its end is in it: wandb writes them in a process of its own."""
    give_up = time.monotonic() + 20
    while True:
        found = _wandb_logs(folder)
        if all(run.status for run in found) or time.monotonic() > give_up:
            return found
        time.sleep(0.1)


def _wandb_logs(folder: Path) -> list[Read]:
    """Read what there is of the logs into wandb's own messages."""
    messages = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    found = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        read = Read([], {}, {}, {}, "", "")
        for content in _transactions(path.read_bytes()):
            record = messages.Record.FromString(content)
            if record.HasField("run"):
                read.params |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
                read.tags = f"{read.params['eetui']} {list(record.run.tags)}"
            items = {item.key or ".".join(item.nested_key): item.value_json for item in record.history.item}
            assert len(items) == len(record.history.item), "a key of its own and a nested one are the same figure"
            if CURVE in items:
                read.curve.append((json.loads(items["block0.lm/step"]), json.loads(items[CURVE])))
            for item in record.summary.update:
                read.final[item.key or item.nested_key[0]] = json.loads(item.value_json)
            if record.HasField("exit"):
                read.status = "failed" if record.exit.exit_code else "finished"
        tables = path.parent.glob("files/media/table/tables/*.json")
        read.tables = {table.name.partition("_")[0]: table.read_text() for table in tables}
        read.params = {key: str(value) for key, value in read.params.items()}
        found.append(read)
    return found


def _transactions(content: bytes) -> Iterator[bytes]:
    """Yield the records of a log in LevelDB's format, in blocks of 32 KiB, after a head of 7 bytes."""
    record, place = b"", 7
    while place + 7 <= len(content):
        if 2**15 - place % 2**15 < 7:
            place += 2**15 - place % 2**15
            continue
        size, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        record += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


READERS: dict[str, Callable[[Path], list[Read]]] = {
    "tensorboard": read_tensorboard, "mlflow": read_mlflow, "wandb": read_wandb, "trackio": read_trackio,
}  # fmt: skip
