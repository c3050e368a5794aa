"""Events to rows of valid JSON and back. Consecutive steps of an epoch are one row of columns, a tenth of the size."""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from core.events import Event, Measured, PlannedStage, RunStarted, StageKind, Step, TokensMeasured, epoch_of_step
from core.store.schema import WINDOW_COLUMNS
from core.valid_json import NOT_FINITE, json_of

TYPES = {cls.__name__: cls for cls in get_args(Event)}
STEPS = "Steps"
STEP_COLUMNS = ("step", "loss", "tokens", "seconds")

OLD_PARTS: dict[str, tuple[StageKind, bool, bool]] = {
    "lm": ("lm", True, False), "statistics": ("statistics", False, False),
    "exit": ("exit classifier", True, False), "hard": ("hard tokens", False, False),
    "ahead": ("statistics", False, True), "refit": ("exit classifier", True, True),
    "threshold": ("hard tokens", False, True), "evaluation": ("evaluation", False, False),
}  # fmt: skip
"""Kind, `trains` and `ahead` of stages by the last part of their names, in logs that hold nothing but the names."""

EventRow = tuple[str, str]
"""Type and JSON data."""


def encode(events: Iterable[Event]) -> Iterator[EventRow]:
    """Rows in the order of the events, without `TokensMeasured`: those have a table of their own."""
    logged = (event for event in events if not isinstance(event, TokensMeasured))
    for key, group in itertools.groupby(logged, key=epoch_of_step):
        if key is None:
            yield from (_encode(event) for event in group)
        else:
            yield _encode_steps(key, [event for event in group if isinstance(event, Step)])


def decode(row: EventRow) -> Iterator[Event]:
    """Decode the events of a row."""
    kind, text = row
    data = json.loads(text)
    if kind == STEPS:
        columns = [data[name] for name in STEP_COLUMNS]
        for step, loss, tokens, seconds in zip(*columns, strict=True):
            yield Step(
                data["stage"],
                data["epoch"],
                step,
                _value("Step", "loss", loss),
                tokens,
                _value("Step", "seconds", seconds),
            )
    else:
        fields = _brought_up_to_date(kind, data)
        yield TYPES[kind](**{name: _value(kind, name, value) for name, value in fields.items()})


class UnreadableError(Exception):
    """A row does not hold what was written; the message says what is wrong with it."""


def checked(row: EventRow) -> tuple[Event, ...]:
    """Decode the events of a row that may hold anything.

    Raises:
        UnreadableError: it does not hold events.
    """
    try:
        events = tuple(decode(row))
        sound = _sound_steps(row[1]) if row[0] == STEPS else all(map(is_well_formed, events))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UnreadableError(f"{type(error).__name__}: {error}") from error
    if not sound:
        raise UnreadableError("a value is of another type than it must be")
    return events


def _sound_steps(text: str) -> bool:
    """Tell whether the columns of steps hold what they must; each step by itself would take ten times as long."""
    data = json.loads(text)
    types = [set(map(type, data[name])) for name in STEP_COLUMNS]
    wanted: list[set[type]] = [{int}, {float, int, type(None)}, {int}, {float, int}]
    named = isinstance(data["stage"], str) and type(data["epoch"]) is int
    return named and all(found <= right for found, right in zip(types, wanted, strict=True))


def _brought_up_to_date(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """Fields of an event as they are now.

    Older logs hold the name of a measurement instead of its way and block, and of a planned stage nothing but its name.
    """
    if kind == RunStarted.__name__:
        return {**data, "stages": [_planned_stage(stage) for stage in data["stages"]]}
    if kind == Measured.__name__ and "name" in data:
        match data.pop("name").split():
            case ["block", block, *words]:
                return {**data, "way": "alone" if words == ["alone"] else "as trained", "block": int(block)}
            case words:
                return {**data, "way": " ".join(words), "block": None}
    return data


def _value(kind: str, name: str, value: Any) -> Any:
    """Decode a field's value: lists are tuples, and figures that are not finite are words."""
    if isinstance(value, list):
        return tuple(_value(kind, name, each) for each in value)
    if value in NOT_FINITE and "float" in str(dict(_kinds(kind)).get(name)):
        return float(value)
    return value


def _planned_stage(stage: str | dict[str, Any]) -> PlannedStage:
    """Decode a planned stage; the first databases hold its name only, from which the rest follows."""
    if isinstance(stage, dict):
        return PlannedStage(**stage)
    place, _, part = stage.rpartition(".")
    kind, trains, ahead = OLD_PARTS[part]
    return PlannedStage(stage, kind, int(place[5:]) if place.startswith("block") else None, trains, ahead)


def is_well_formed(event: Event) -> bool:
    """Tell whether every field of an event is of its type: what was read from a damaged file may be anything."""
    return all(_fits(getattr(event, name), kind) for name, kind in _kinds(type(event).__name__))


@cache
def _kinds(name: str) -> tuple[tuple[str, Any], ...]:
    """Return the fields of an event with their types."""
    kinds = get_type_hints(TYPES[name])
    return tuple((field.name, kinds[field.name]) for field in dataclasses.fields(TYPES[name]))


def _fits(value: object, kind: Any) -> bool:
    """Tell whether a value is of a type as the events' fields have them."""
    arguments = get_args(kind)
    if get_origin(kind) is Literal:
        return value in arguments
    if get_origin(kind) in (Union, UnionType):
        return any(_fits(value, each) for each in arguments)
    if get_origin(kind) is tuple:  # of one type, of any length
        return isinstance(value, tuple) and all(_fits(each, arguments[0]) for each in value)
    if kind in (int, float):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return isinstance(value, kind)


def _encode(event: Event) -> EventRow:
    data = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    if isinstance(event, Measured):
        for column in WINDOW_COLUMNS:  # kept with the results
            del data[column]
    return type(event).__name__, _json(data)


def _encode_steps(key: tuple[str, int], steps: list[Step]) -> EventRow:
    columns = {name: [getattr(step, name) for step in steps] for name in STEP_COLUMNS}
    return STEPS, _json({"stage": key[0], "epoch": key[1], **columns})


def _json(data: dict[str, Any]) -> str:
    return json_of(data)
