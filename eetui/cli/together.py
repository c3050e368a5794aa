"""Training one run on several processes that torchrun started: the first as ever, the others silent beside it."""

from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import EetuiError
from core.parallel.launch import Launch

if TYPE_CHECKING:
    from eetui.console.training_thread import Request


def train_together(request: "Request", database: Path, launched: Launch, *, as_json: bool = False) -> int:
    """Train the requested runs with the other processes; return the exit code, the first process's in all of them.

    Raises:
        LostProcessError: the others can't be reached, or the first is gone.
    """
    from core.parallel.world import joined
    from core.session.together import follow
    from eetui.cli.headless import Stop, train_headless

    with joined(launched) as together:
        if not together.leads:
            stop = Stop()
            with stop.listening():
                return follow(together, stop)
        code = EetuiError.exit_code
        try:
            code = train_headless(request, database, as_json=as_json)
        except EetuiError as error:
            code = error.exit_code
            raise
        finally:
            together.dismiss(code)
        return code
