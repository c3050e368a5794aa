"""The names of arrays: which mean something here, by which other names they go, and which are of one exit."""

import re

ALIASES = {
    "cross_entropy": "loss", "losses": "loss", "predictions": "prediction", "target": "targets", "signals": "signal",
    "max_probs": "max_prob", "cost": "costs", "texts": "text",
}  # fmt: skip
"""Other names of arrays, such as those of `TokenTable`."""
NEEDED = {
    "loss": "cross-entropy of each target in nats, at each exit",
    "max_prob": "largest probability of each token at each exit, probabilities.amax(-1)",
    "prediction": "id of the most probable token, at each exit, probabilities.argmax(-1)",
    "targets": "id of each token that was to be predicted",
}
KNOWN = (
    *NEEDED, "signal", "seq_len", "window", "text", "vocabulary", "vocab_size", "layers", "costs", "signal_costs",
    "thresholds", "calibration", "claims", "method", "corpus",
)  # fmt: skip
_OF_AN_EXIT = (re.compile(r"(?P<name>\w+?)[_.](?P<exit>\d+)"), re.compile(r"block(?P<exit>\d+)\.(?P<name>\w+)"))
"""Names of columns of one exit: `loss_0`, `loss.0`, and `block0.loss`."""


def is_known(name: str) -> bool:
    """Tell whether an array of that name means something here."""
    return ALIASES.get(name, name) in KNOWN


def of_an_exit(name: str) -> tuple[str, int] | None:
    """Return the array that a column is a part of, and its exit; None where it is none of one exit."""
    match = next((match for form in _OF_AN_EXIT if (match := form.fullmatch(name))), None)
    return (match["name"], int(match["exit"])) if match and is_known(match["name"]) else None
