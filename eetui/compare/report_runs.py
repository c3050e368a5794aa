"""The seed report's own results, as columns to compare with: `report:distill`, `report:loss`, `report:softmax`.

Measured by its authors on WikiText-2 (vocabulary 69,830) on a GPU with seed 42. PPL depends on the corpus, so only
order and ratios can be held against other runs.
"""

from typing import Any

from core.exits._facts import declared_facts
from eetui.compare.run_view import RunView, report_config

PREFIX = "report:"
CORPUS = "WikiText-2 of the seed report, vocabulary 69,830"

_METRICS: dict[str, dict[str, float]] = {
    "distill": {
        "final_ppl": 1095.46,
        "accuracy": 0.1682,
        "shallow_ratio": 0.507,
        "layer_savings": 0.253,
        "block0.val_ppl": 564.95,
        "block1.val_ppl": 522.28,
        "block0.threshold": 0.1738,
        "block0.avg_label": 0.184,
        "block0.exit_loss_first": 0.0385,
        "block0.exit_loss_last": 0.0170,
    },
    "loss": {
        "final_ppl": 1071.76,
        "accuracy": 0.1681,
        "shallow_ratio": 0.493,
        "layer_savings": 0.246,
        "block0.val_ppl": 564.95,
        "block1.val_ppl": 445.48,
        "block0.threshold": 0.0481,
        "block0.avg_label": 0.074,
        "block0.exit_loss_first": 0.0509,
        "block0.exit_loss_last": 0.0211,
    },
    "softmax": {
        "final_ppl": 1219.52,
        "accuracy": 0.1678,
        "shallow_ratio": 0.728,
        "layer_savings": 0.364,
        "block0.val_ppl": 564.95,
        "block1.val_ppl": 736.13,
        "block0.threshold": 0.1492,
    },
}


def report_names() -> tuple[str, ...]:
    """References of all the report's columns."""
    return tuple(PREFIX + method for method in _METRICS)


def report_view(reference: str) -> RunView | None:
    """The report's run of that reference, if there is one."""
    method = reference.removeprefix(PREFIX)
    if reference == method or method not in _METRICS:
        return None
    return RunView(
        name=reference,
        method=method,
        seed=42,
        status="finished",
        fingerprint="report",
        corpus=CORPUS,
        config=_config(method),
        metrics=_METRICS[method],
        reads_head=declared_facts(method).reads_head,
    )


def _config(method: str) -> dict[str, Any]:
    """The report's configuration, with its corpus and machine."""
    config = dict(report_config())
    del config["data.vocab_size"]  # of the bpe tokenizer, which the report did not use
    own = {"method": method, "preset": "seed", "machine.device": "cuda"}
    return config | own | {"data.corpus": "WikiText-2", "data.tokenizer": "word"}
