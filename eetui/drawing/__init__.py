"""Charts, axes, cells, themes and status marks; nothing here knows a run."""
