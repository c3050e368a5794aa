"""A sign of life for the runs that a process holds, in training or not, however long a step takes."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

from core.errors import StoreError
from core.store.liveness import BEAT_SECONDS
from core.store.writer import Writer


@contextlib.contextmanager
def beating(store: Writer, runs: Callable[[], Sequence[int]]) -> Iterator[None]:
    """Write the heartbeat of these runs every `BEAT_SECONDS` while the block runs, from a thread of its own.

    A database that can't be written now is no matter: the next beat may get through.
    """
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_SECONDS):
            held = runs()
            if held:
                with contextlib.suppress(StoreError):
                    store.heartbeat(held)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    with contextlib.suppress(RuntimeError):  # no more threads to be had: what is stored is a sign of life too
        thread.start()
    try:
        yield
    finally:
        over.set()
        if thread.ident is not None:
            thread.join()
