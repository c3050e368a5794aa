"""Runs whose numbers were imported (`core.importing`): how their configs name a model and a signal eetui never had."""

IMPORTED = "imported"
"""`model.source` of such a run."""
IMPORTED_SIGNAL = "imported:"
"""Beginning of its `method`; the name of its signal follows."""


def no_model(run: str, what: str) -> str:
    """Say of such a run what it can't do.

    Args:
        what: `be resumed` and the like.
    """
    return (
        f"{run} can't {what}: its numbers were imported (eetui import, or eetui.log), and eetui has not the model that "
        f"made them"
    )
