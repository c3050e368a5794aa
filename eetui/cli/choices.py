"""The values of options that take one of a few, for their help, their completion and their check.

Those that figures, trackers and imports know stand here too, as importing those takes longer than a Tab may: a test
holds them to each other.
"""

from collections.abc import Mapping, Sequence

KINDS = ("curves", "savings", "waterfall", "reliability", "tokens")
TRACKERS = ("tensorboard", "mlflow", "wandb", "trackio")
CHOICES: Mapping[str, Sequence[str]] = {
    "calibrate --method": ("ltt", "crc"),
    "calibrate --over": ("rate", "price"),
    "compare --format": ("table", "md", "csv", "json", "latex"),
    "sql --format": ("table", "md", "csv", "json"),
    "report --format": ("html", "md"),
    "plot --format": ("svg", "pdf", "png"),
    "--kind": KINDS,
    "-k": KINDS,
    "--width": ("column", "text"),
    "--to": TRACKERS,
    "--mirror": tuple(f"{name}:" for name in TRACKERS),
    "--claims": ("rank", "max_prob", "correct", "p(target)", "agrees"),
    "--device": ("auto", "cpu", "cuda", "mps"),
    "--search": ("tpe", "random"),
}
"""By option, with the command where others have another one of that name."""


def listed(values: Sequence[str]) -> str:
    """Return values as a sentence lists them: `svg, pdf or png`."""
    *first, last = values
    return f"{', '.join(first)} or {last}"
