"""A lab bench in the terminal for early-exit language models: command line and console over `core`.

From Python: `eetui.Database` reads runs, `eetui.train` trains, `eetui.log` tells of a training
loop of your own; see `eetui.api` and `eetui.logging`.
"""

import core  # noqa: F401 -- before anything imports torch: it sets the wait policy of torch's threads

TYPE_CHECKING = False  # as type checkers know it; importing typing would take a third of `eetui --version`
if TYPE_CHECKING:
    from eetui.api import Database as Database
    from eetui.api import Run as Run
    from eetui.api import Training as Training
    from eetui.api import load_adapter as load_adapter
    from eetui.api import train as train
    from eetui.logging import LoggedRun as LoggedRun
    from eetui.logging import log as log
    from eetui.logging import logging_run as logging_run

__version__ = "0.1.0"
__all__ = ["Database", "LoggedRun", "Run", "Training", "__version__", "load_adapter", "log", "logging_run", "train"]


def __getattr__(name: str) -> object:
    """Import the Python face when it is first used: `eetui --version` does not wait for it."""
    if name not in __all__:
        raise AttributeError(f"module 'eetui' has no attribute {name!r}")
    from eetui import api, logging

    return getattr(logging if hasattr(logging, name) else api, name)
