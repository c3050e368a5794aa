"""A single run in sections."""

import json
from dataclasses import replace
from pathlib import Path

from core.events import Priced
from core.store.reader import Reader
from eetui.summary.details_text import run_details, run_json
from tests.eetui.plain_text import plain_text
from tests.scripted_runs import make_database

FOUND = Priced("exits.price", "savings", 0.4, "layers", 0.04512, 0.399, 0.0067, "calibration")


def test_a_price_is_told_with_what_it_promised_and_what_came_of_it(tmp_path: Path) -> None:
    with Reader(make_database(tmp_path / "runs.db")) as reader:
        row, state = reader.run(1), reader.state(1)
    priced = replace(state, priced=FOUND)
    lines = plain_text(run_details(row, priced), 120).splitlines()
    start = next(place for place, line in enumerate(lines) if "One price set the thresholds of all exits" in line)
    told = {line.split()[0]: line.split(maxsplit=1)[1].strip() for line in lines[start + 1 : start + 4]}
    assert told["price"] == "0.0451 nats for all layers, for 40.0% of the layers saved"
    assert told["promised"] == "39.9% saved, +0.0067 nats above all blocks (calibration windows)"
    assert state.final is not None
    assert told["realised"].startswith(f"{state.final.layer_savings:.1%} saved")
    assert json.loads(run_json(row, priced))["priced"]["price"] == FOUND.price
    assert "One price" not in plain_text(run_details(row, state), 120)
    assert "priced" not in json.loads(run_json(row, state))
