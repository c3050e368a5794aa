"""The results of all benchmarks as one page: reads `*.json` of a folder, writes `README.md` beside them.

python -m benchmarks.summary benchmarks/results
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks._report import Figure, number

HEAD = "| | median | spread | goal | |\n| --- | ---: | --- | --- | --- |"


def page(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown of some reports, by the name of their benchmark."""
    lines = ["# Benchmark results", "", "Made by `make bench`; medians, with the smallest and the largest round.", ""]
    for name, report in reports.items():
        lines += [f"## {report.get('title', name)}", ""]
        lines += [f"`benchmarks/{name}.py`. {_pairs(report.get('machine', {}))}", ""]
        if options := _pairs(report.get("options", {})):
            lines += [f"Options: {options}", ""]
        lines += [HEAD, *_rows(report), ""] if report.get("figures") else []
        lines += [*(f"- {note}" for note in report.get("notes", ())), *([""] if report.get("notes") else [])]
    return "\n".join(lines).rstrip() + "\n"


def _rows(report: Mapping[str, Any]) -> Iterator[str]:
    for values in report["figures"]:
        figure = Figure(**values)
        verdict = {None: "", True: "reached", False: "**missed**"}[figure.reached]
        median = f"{number(figure.median)} {figure.unit}".rstrip()
        spread = f"{number(figure.low)} … {number(figure.high)}" if figure.rounds > 1 else "one round"
        yield f"| {figure.name} | {median} | {spread} | {figure.goal} | {verdict} |"


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def main() -> None:
    folder = Path(sys.argv[1])
    files = sorted(folder.glob("*.json"))
    reports = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}
    (folder / "README.md").write_text(page(reports), encoding="utf-8")
    print(f"{folder / 'README.md'}: {len(reports)} benchmarks")


if __name__ == "__main__":
    main()
