"""The fields of the form as plain data, derived from the config model.

A new field of the config appears in the form by itself, with its unit, bounds and choices.
"""

import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from core.config.run_config import FieldUnit, RunConfig, leaves, method_labels, preset_names
from core.config.sections import MOST

Kind = Literal["integer", "number", "text", "list", "choice", "switch", "several"]
Raw = str | bool | tuple[str, ...]
"""Value of an editor: text, on or off, or the ticked names."""

KIND_WORDS: dict[Kind, str] = {"integer": "whole number", "number": "number", "list": "whole numbers, by comma"}
MOST_SEEDS = 1000
PRESET, METHODS, SEEDS, NAME, TAGS = "preset", "methods", "seeds", "name", "tags"
METHOD_FILES = "method_files"
FIRST = ("data.corpus", "protocol", "seed")
"""Config fields shown above the sections, among those of the experiment."""


@dataclass(frozen=True)
class Field:
    """One line of the form.

    Attributes:
        name: dotted name in the config; fields of the experiment have names without a dot.
        limits: allowed values as text, such as `number > 0`.
        choices: values to choose from.
        labels: text of a choice, where it differs from its value.
        optional: whether it may be left empty.
    """

    name: str
    kind: Kind
    meaning: str
    unit: str = ""
    limits: str = ""
    choices: tuple[object, ...] = ()
    optional: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name within its section."""
        return self.name.rpartition(".")[2]

    @property
    def section(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def heading(self) -> str:
        """Section that the field is shown in; empty for those at the top."""
        return "" if self.name in FIRST else self.section

    @property
    def names_a_source(self) -> bool:
        """Whether the text names a corpus: a half-typed name may mean another one, which is costly to read."""
        return self.kind == "text" and self.section == "data"


def form_fields(model: type[BaseModel] = RunConfig) -> tuple[Field, ...]:
    """Return all fields in order: the experiment's, then the config's by section; `methods` replaces `method`."""
    fields = [config_field(name, info) for name, info in leaves(model) if name != "method"]
    above = sorted((one for one in fields if not one.heading), key=_place(FIRST, "name"))
    below = [one for one in fields if one.heading]
    return (*_experiment_fields(above), *sorted(below, key=_place([one.section for one in below], "section")))


def config_field(name: str, info: FieldInfo) -> Field:
    """Convert a config field to a field of the form."""
    annotation, optional = _without_none(info.annotation)
    kind = _kind(annotation)
    unit = next((one.name for one in info.metadata if isinstance(one, FieldUnit)), "")
    choices = (*get_args(annotation), *((None,) if optional else ())) if kind == "choice" else ()
    return Field(name, kind, info.description or "", unit, _limits(kind, info, optional), choices, optional)


def parse(one: Field, raw: Raw) -> object:
    """Convert an editor's value to a config value; text that is not a number stays text, which the config refuses."""
    if one.kind == "choice":
        return next((value for value in one.choices if written(value) == raw), raw)
    if not isinstance(raw, str):
        return raw
    text = raw.strip()
    if one.optional and not text:
        return None
    if one.kind in ("integer", "number"):
        for read in (int, float):
            try:
                return read(text)
            except ValueError:
                continue
    return text


def written(value: object) -> Raw:
    """Convert a config value to its editor's value."""
    if isinstance(value, bool):
        return value
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _experiment_fields(config: Iterable[Field]) -> Iterator[Field]:
    """Yield the fields chosen once for all runs, with `config` in their midst."""
    yield Field(PRESET, "choice", "values to start from; what you changed yourself stays", choices=preset_names())
    labels = method_labels()
    meaning = "exit methods: one run for each, and for each seed"
    yield Field(METHODS, "several", meaning, choices=tuple(labels), labels=labels)
    yield from config
    yield Field(SEEDS, "integer", "how many consecutive seeds", limits=f"whole number, 1 to {MOST_SEEDS}")
    yield Field(NAME, "text", "name of the run; several get their method and seed added", optional=True)
    yield Field(TAGS, "text", "words to find the runs by, separated by spaces", optional=True)
    yield Field(METHOD_FILES, "text", "files of your own exit methods, separated by spaces", optional=True)


def _place(order: Sequence[str], attribute: str) -> Callable[[Field], int]:
    """Return a sort key: fields whose attribute is in `order` come first, in that order; the rest stay as they were."""
    return lambda one: order.index(getattr(one, attribute)) if getattr(one, attribute) in order else len(order)


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """Return an annotation without None, and whether it had one."""
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return kinds[0] if len(kinds) == 1 else str, len(kinds) < len(get_args(annotation))
    return annotation, False


def _kind(annotation: Any) -> Kind:
    simple: dict[Any, Kind] = {bool: "switch", int: "integer", float: "number"}
    origins: dict[Any, Kind] = {Literal: "choice", tuple: "list"}
    return simple.get(annotation) or origins.get(get_origin(annotation)) or "text"


def _limits(kind: Kind, info: FieldInfo, optional: bool) -> str:
    """Write the allowed values."""
    bounds = []
    for one in info.metadata:
        for sign, kind_of_bound, attribute in ((">", Gt, "gt"), ("≥", Ge, "ge"), ("<", Lt, "lt"), ("≤", Le, "le")):
            if isinstance(one, kind_of_bound) and abs(getattr(one, attribute)) < MOST:
                bounds.append(f"{sign} {getattr(one, attribute):,}")
    if optional:
        bounds.append("may be empty")
    elif kind == "text" and any(isinstance(one, MinLen) for one in info.metadata):
        bounds.append("not empty")
    return " ".join(filter(None, (KIND_WORDS.get(kind, ""), ", ".join(bounds))))


FIELDS: Mapping[str, Field] = {one.name: one for one in form_fields()}
CONFIG_NAMES = frozenset(name for name, _ in leaves())
