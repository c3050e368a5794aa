"""Errors that a user can act on.

    EetuiError                 exit code 1
    ├── UsageError             exit code 2: the request itself can't be carried out
    │   ├── ConfigError        a config value or key is not valid
    │   ├── CorpusError        the text can't be read, or is too small
    │   └── StoreError         the database can't be opened, read or written
    │       ├── RunLookupError no run, or several, of that name
    │       ├── LostRunError   a run in training is another process's by now, or deleted
    │       ├── UnwritableError  exit code 1: it can't be written now, but perhaps in a while: a full disk, a lock
    │       └── DamagedError   what it holds can't be read, or is not what was written
    ├── TrackerError           another program's tracker did not take a run
    ├── VanishedError          the database was removed or replaced while it was in use
    └── TrainingError          a run started and failed
        ├── DivergedError      the loss is not finite
        ├── PartedError        another process of the run failed
        ├── LostProcessError   another process of the run is gone
        ├── StoppedError       another process of the run was stopped
        └── NoHardTokensError  the exit signal leaves no token for the next block

Every message says what is wrong, where, and what to do. Bugs are not in this tree: they raise Python's own errors, and
the run keeps the traceback.
"""

from collections.abc import Mapping
from types import MappingProxyType


class EetuiError(Exception):
    """Base of every error with a message meant for the user."""

    exit_code = 1


class UsageError(EetuiError):
    """The request can't be carried out as it was made; nothing was started."""

    exit_code = 2


class TrackerError(EetuiError):
    """Another program's tracker did not take a run."""


class ConfigError(UsageError):
    """One or more config values are not valid; the message has one line for each.

    Attributes:
        reasons: reason for each field that is not valid, by its dotted name; it reads on after the name.
    """

    def __init__(self, message: str, reasons: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__(message)
        self.reasons = reasons


class CorpusError(UsageError):
    """The corpus is missing, unreadable, empty or too small for the config."""


class StoreError(UsageError):
    """The database can't be opened, read or written."""


class RunLookupError(StoreError):
    """A run reference names no run, or more than one."""


class LostRunError(StoreError):
    """Another process trains the run by now, or it was deleted: nothing may be written of it any more."""


class UnwritableError(StoreError):
    """The database can't be written now: the disk is full, another program holds it; it may pass."""

    exit_code = 1


class DamagedError(StoreError):
    """The database can't be read, or holds something else than what was written."""


class VanishedError(EetuiError):
    """The database was removed or replaced while it was in use; the message says where what it held is now."""


class TrainingError(EetuiError):
    """A run started and could not be finished."""


class DivergedError(TrainingError):
    """The training loss became infinite or NaN."""


class NoHardTokensError(TrainingError):
    """Too few tokens have a signal below the threshold to train the next block."""


class PartedError(TrainingError):
    """Another process that trains the run has failed; the message says which, and why."""


class LostProcessError(TrainingError):
    """Another process that trains the run is gone without a word."""


class StoppedError(TrainingError):
    """Another process that trains the run was asked to stop."""
