"""Training one run on several processes that torchrun started: the first as ever, the others silent beside it."""

from pathlib import Path
from typing import TYPE_CHECKING

from core.parallel.launch import Launch

if TYPE_CHECKING:
    from eetui.console.training_thread import Request
    from eetui.trackers.contract import Trackers


def train_together(
    request: "Request", database: Path, launched: Launch, *, as_json: bool = False, mirrors: "Trackers" = ()
) -> int:
    """Train the requested runs with the other processes; return the exit code, 0 in all but the first.

    Raises:
        LostProcessError: the others can't be reached, or the first is gone.
    """
    from core.parallel.world import joined
    from core.session.together import follow
    from eetui.cli.headless import Stop, train_headless

    with joined(launched) as together:
        if together.leads:
            try:
                return train_headless(request, database, as_json=as_json, mirrors=mirrors)
            finally:
                together.dismiss()
        stop = Stop()
        with stop.listening():
            follow(together, stop)
        return 0
