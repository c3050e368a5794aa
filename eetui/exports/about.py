"""What an exported file says of the runs in it."""

import json

from core.store.reader import Reader


def about_runs(reader: Reader, numbers: list[int]) -> str:
    """Return what a file's metadata says of its runs: number, name, method, seed and config of each, as JSON."""
    rows = (reader.run(number) for number in numbers)
    return json.dumps([{key: row[key] for key in ("id", "name", "method", "seed", "config")} for row in rows])
