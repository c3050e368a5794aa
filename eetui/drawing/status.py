"""Sign, word and colour of each run status."""

STATUS_STYLES = {
    "finished": ("✓", "green"),
    "running": ("▶", "cyan"),
    "queued": ("…", "dim"),
    "interrupted": ("■", "yellow"),
    "failed": ("✗", "red"),
}

STATUS_WORDS = {status: f"{sign} {status}" for status, (sign, _) in STATUS_STYLES.items()}
