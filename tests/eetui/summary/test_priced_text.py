"""The price of a run in words."""

from dataclasses import replace

import pytest

from core.events import Priced
from eetui.drawing.palette import Palette
from eetui.live.priced_text import priced_table
from eetui.summary.priced_text import priced_facts
from tests.scripted_runs import scripted, state_of

FOUND = Priced("exits.price", "savings", 0.4, "layers", 0.04512, 0.399, 0.0067, "calibration")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (FOUND, "0.0451 nats for all layers, for 40.0% of the layers saved"),
        (
            replace(FOUND, policy="loss", target=0.01, cost="flops"),
            "nats for all FLOPs, for 0.0100 nats above all blocks",
        ),
        (replace(FOUND, policy="price"), "0.0451 nats for all layers, as given"),
    ],
)
def test_a_price_is_told_with_what_it_was_to_reach(found: Priced, words: str) -> None:
    assert words in dict(priced_facts(replace(state_of(scripted()), priced=found)))["price"]


def test_what_it_promised_stands_beside_what_came_of_it() -> None:
    state = replace(state_of(scripted()), priced=FOUND)
    facts = dict(priced_facts(state))
    assert facts["promised"] == "39.9% saved, +0.0067 nats above all blocks (calibration windows)"
    assert state.final is not None
    assert facts["realised"].startswith(f"{state.final.layer_savings:.1%} saved")
    assert facts["realised"].endswith("(evaluation windows)")
    trained = dict(priced_facts(replace(state, priced=replace(FOUND, split="train"))))
    assert trained["promised"].endswith("(training windows)")
    table = priced_table(state, 78, Palette()).plain
    assert "exit 0  threshold 0.1300" in table
    assert not dict(priced_facts(replace(state, priced=None)))
