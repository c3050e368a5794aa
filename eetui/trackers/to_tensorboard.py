"""Runs for TensorBoard: scalars, hyperparameters, tables as text. `tensorboard --logdir FOLDER` shows them.

TensorBoard's own writer is used, which needs neither TensorFlow nor torch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams.metadata import (
    NULL_TENSOR,
    SESSION_END_INFO_TAG,
    SESSION_START_INFO_TAG,
    create_summary_metadata,
)
from tensorboard.plugins.text.metadata import create_summary_metadata as text_metadata
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util import tensor_util

from eetui.drawing.formats import pipe_table
from eetui.trackers.contract import Cell, Ending, TrackedRun
from eetui.trackers.names import place_name

SUFFIX = ".eetui"
STATUS = {
    "finished": api_pb2.STATUS_SUCCESS, "failed": api_pb2.STATUS_FAILURE, "interrupted": api_pb2.STATUS_UNKNOWN,
}  # fmt: skip


class TensorBoard:
    """A run in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def start(self, run: TrackedRun) -> None:
        """Begin the run's file, and remove the one of an earlier export."""
        place = self._folder / place_name(run)
        place.mkdir(parents=True, exist_ok=True)
        for old in place.glob(f"events.out.tfevents.*{SUFFIX}"):
            old.unlink()
        self._writer = EventFileWriter(str(place), filename_suffix=SUFFIX)
        begun = plugin_data_pb2.SessionStartInfo(group_name=run.key, start_time_secs=run.created)
        for name, value in run.params.items():
            kind = (
                "bool_value"
                if isinstance(value, bool)
                else "string_value"
                if isinstance(value, str)
                else "number_value"
            )
            setattr(begun.hparams[name], kind, value)
        self._tell(SESSION_START_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=begun), run.created)
        self.table("tags", ("tag", "value"), [*run.tags.items(), *((label, "") for label in run.labels)], run.created)

    def metrics(self, values: Mapping[str, float], step: int, time: float) -> None:
        """Write scalars."""
        found = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._add(Summary(value=found), step, time)

    def summary(self, values: Mapping[str, float], time: float) -> None:
        """Write the figures of the whole run as scalars `final/…` at step 0."""
        self.metrics({f"final/{name}": value for name, value in values.items()}, 0, time)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], time: float) -> None:
        """Write a table as Markdown text."""
        text = pipe_table(columns, (["" if cell is None else str(cell) for cell in row] for row in rows))
        tensor = tensor_util.make_tensor_proto(np.array([text.encode()], dtype=object))
        metadata = text_metadata(display_name=name, description="")
        self._add(Summary(value=[Summary.Value(tag=name, metadata=metadata, tensor=tensor)]), 0, time)

    def flush(self) -> None:
        """Write what is buffered."""
        self._writer.flush()

    def end(self, ending: Ending, time: float) -> None:
        """End the session, and close the file."""
        ended = plugin_data_pb2.SessionEndInfo(status=STATUS[ending], end_time_secs=time)
        self._tell(SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=ended), time)
        self._writer.close()

    def _tell(self, tag: str, content: Any, time: float) -> None:
        """Write what the HParams plugin reads."""
        self._add(
            Summary(value=[Summary.Value(tag=tag, metadata=create_summary_metadata(content), tensor=NULL_TENSOR)]),
            0,
            time,
        )

    def _add(self, summary: Any, step: int, time: float) -> None:
        self._writer.add_event(Event(wall_time=time, step=step, summary=summary))


new = TensorBoard
