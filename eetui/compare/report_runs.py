"""The seed report's own results, as columns to compare with: `report:distill`, `report:loss`, `report:softmax`.

Its authors measured them on WikiText-2 (vocabulary 69,830) on a GPU with seed 42. PPL depends on the corpus, so only
order and ratios can be compared with other runs.
"""

from typing import Any

from core.config.stored import seed_values
from core.exits._facts import declared_facts
from core.metrics import (
    ACCURACY,
    AVG_LABEL,
    EXIT_LOSS_FIRST,
    EXIT_LOSS_LAST,
    FINAL_PPL,
    LAYER_SAVINGS,
    SHALLOW_RATIO,
    THRESHOLD,
    VAL_PPL,
    Metric,
)
from eetui.compare.run_view import RunView

PREFIX = "report:"
CORPUS = "WikiText-2 of the seed report, vocabulary 69,830"

_METRICS: dict[str, dict[Metric, float]] = {
    "distill": {
        FINAL_PPL: 1095.46,
        ACCURACY: 0.1682,
        SHALLOW_RATIO: 0.507,
        LAYER_SAVINGS: 0.253,
        VAL_PPL.at(0): 564.95,
        VAL_PPL.at(1): 522.28,
        THRESHOLD.at(0): 0.1738,
        AVG_LABEL.at(0): 0.184,
        EXIT_LOSS_FIRST.at(0): 0.0385,
        EXIT_LOSS_LAST.at(0): 0.0170,
    },
    "loss": {
        FINAL_PPL: 1071.76,
        ACCURACY: 0.1681,
        SHALLOW_RATIO: 0.493,
        LAYER_SAVINGS: 0.246,
        VAL_PPL.at(0): 564.95,
        VAL_PPL.at(1): 445.48,
        THRESHOLD.at(0): 0.0481,
        AVG_LABEL.at(0): 0.074,
        EXIT_LOSS_FIRST.at(0): 0.0509,
        EXIT_LOSS_LAST.at(0): 0.0211,
    },
    "softmax": {
        FINAL_PPL: 1219.52,
        ACCURACY: 0.1678,
        SHALLOW_RATIO: 0.728,
        LAYER_SAVINGS: 0.364,
        VAL_PPL.at(0): 564.95,
        VAL_PPL.at(1): 736.13,
        THRESHOLD.at(0): 0.1492,
    },
}


def report_names() -> tuple[str, ...]:
    """Return the references of all the report's columns."""
    return tuple(PREFIX + method for method in _METRICS)


def report_view(reference: str) -> RunView | None:
    """Return the report's run of that reference, if there is one."""
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
    """Return the report's configuration, with its corpus and machine."""
    config = dict(seed_values())
    del config["data.vocab_size"]  # of the bpe tokenizer, which the report did not use
    own = {"method": method, "preset": "seed", "machine.device": "cuda"}
    return config | own | {"data.corpus": "WikiText-2", "data.tokenizer": "word"}
