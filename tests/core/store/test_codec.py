"""Events to rows and back, for every type of event there is."""

import json
from collections.abc import Callable
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config.run_config import RunConfig
from core.events import Event, Measured, RunStarted, Split, Step, TokensMeasured, Way
from core.protocol.order import planned_stages
from core.store import codec

numbers = st.floats(allow_nan=False)
LOGGED = [event_type for event_type in get_args(Event) if event_type is not TokensMeasured]
ONE_OF_EACH = st.one_of([st.from_type(event_type) for event_type in LOGGED])
RUN_OF_STEPS = st.lists(
    st.builds(Step, stage=st.sampled_from("ab"), epoch=st.integers(1, 2), step=st.integers(1), loss=st.none() | numbers,
              tokens=st.integers(1), seconds=numbers), max_size=8,
)  # fmt: skip


def round_trip(events: list[Event]) -> list[Event]:
    return [event for row in codec.encode(events) for event in codec.decode(row)]


def without_windows(event: Event) -> Event:
    return event.without_windows() if isinstance(event, Measured) else event


@pytest.mark.parametrize("event_type", LOGGED)
def test_every_type_of_event_comes_back_as_it_was(event_type: type) -> None:
    @settings(max_examples=20, deadline=None, database=None)
    @given(st.builds(event_type, **{"seconds": numbers} if "seconds" in event_type.__slots__ else {}))
    def check(event: Event) -> None:
        (back,) = round_trip([event])
        assert type(back) is event_type
        assert repr(back) == repr(without_windows(event))  # by their text, so that nan equals nan

    check()


@settings(max_examples=50, deadline=None, database=None)
@given(st.lists(st.one_of(ONE_OF_EACH.map(lambda event: [event]), RUN_OF_STEPS), max_size=5))
def test_events_come_back_in_their_order(groups: list[list[Event]]) -> None:
    events = [event for group in groups for event in group]
    assert repr(round_trip(events)) == repr([without_windows(event) for event in events])


def test_consecutive_steps_of_an_epoch_share_a_row() -> None:
    steps = [Step("block0.lm", epoch, step, 1.5, 8, 0.1) for epoch in (1, 2) for step in (1, 2, 3)]
    rows = list(codec.encode(steps))
    assert [kind for kind, _ in rows] == [codec.STEPS, codec.STEPS]
    assert round_trip(steps) == steps


def test_the_windows_of_a_measurement_stay_out_of_the_log() -> None:
    event = Measured("evaluation", "oracle", None, "eval", "all", 8, 1.0, 0.5, (1.0,), 0.0, (1.0, 2.0))
    ((_, data),) = codec.encode([event])
    assert "window_losses" not in data
    assert round_trip([event]) == [event.without_windows()]


@pytest.mark.parametrize(
    ("name", "way", "block"),
    [
        ("early exit", "early exit", None),
        ("all blocks", "all blocks", None),
        ("oracle", "oracle", None),
        ("block 0 as trained", "as trained", 0),
        ("block 12 alone", "alone", 12),
        ("block 1 on its training windows", "as trained", 1),
    ],
)
def test_a_measurement_that_a_former_version_named_has_its_way_and_block(
    name: str, way: Way, block: int | None
) -> None:
    split: Split = "train" if "training" in name else "eval"
    rest = f'"split":"{split}","token_set":"all","tokens":8,"loss":1.5,"accuracy":0.5,"exit_shares":[1.0,0.0]'
    (event,) = codec.decode(("Measured", f'{{"stage":"evaluation","name":"{name}",{rest},"layer_savings":0.5}}'))
    assert event == Measured("evaluation", way, block, split, "all", 8, 1.5, 0.5, (1.0, 0.0), 0.5)
    assert isinstance(event, Measured)
    assert event.name == name


def test_statistics_of_tokens_are_never_in_the_log() -> None:
    tokens = TokensMeasured(0, b"1234", b"1234", b"1234", b"1234")
    steps = [Step("evaluation", 1, step, None, 8, 0.1) for step in (1, 2)]
    assert list(codec.encode([tokens])) == []
    assert round_trip([tokens, steps[0], tokens, steps[1], tokens]) == steps
    assert len(list(codec.encode([steps[0], tokens, steps[1]]))) == 1


@pytest.mark.parametrize(
    "values",
    [{}, {"method": "gain"}, {"method": "agree", "protocol": "joint"}, {"protocol": "full_depth"}],
    ids=str,
)
def test_stages_of_old_logs_which_hold_their_names_only_are_planned_stages(
    values: dict[str, str], tiny_config: Callable[..., RunConfig]
) -> None:
    stages = planned_stages(tiny_config(**values))
    started = RunStarted(stages, 100, 20, 30, (1, 1), 999)
    ((kind, text),) = codec.encode([started])
    old = json.dumps(json.loads(text) | {"stages": [stage.name for stage in stages]})
    assert list(codec.decode((kind, old))) == [started]
