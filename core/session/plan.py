"""An experiment before it starts. Imports no torch, so that a form or a command line can make one at once."""

from dataclasses import dataclass

from core.config.run_config import RunConfig


@dataclass(frozen=True)
class Plan:
    """An experiment to run: one config a run, all on one corpus, with their names (None: made from the number)."""

    configs: tuple[RunConfig, ...]
    names: tuple[str | None, ...]
    preset: str | None = None
    tags: tuple[str, ...] = ()
    profile: bool = False
    """Whether the parts of every stage are timed."""
    speed: float | None = None
    """Tokens a second of the first training, as estimated."""
