"""An experiment while it is being set up: a preset and the user's changes.

Text is kept as it was typed, so that a value that is not valid yet is not lost.
"""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from core.config.derived import unused_exit_settings
from core.config.dotted_names import flatten
from core.config.run_config import DEFAULT_PRESET, Layer, RunConfig, build, preset_layer, preset_names
from core.config.sections import OWN_FIELDS, PRETRAINED_FIELDS, RECIPE_FIELDS
from core.errors import ConfigError
from core.extensions.kinds import EXIT_METHODS
from core.extensions.plugins import PluginError, is_path, pinned, unpinned
from core.pretrained.place import OWN, is_pretrained
from core.session.names import require_name, require_tag
from core.session.plan import REPORT_METHODS, Plan, plan_from
from eetui.setup.fields import (
    CONFIG_NAMES,
    FIELDS,
    METHOD_FILES,
    METHODS,
    MOST_SEEDS,
    NAME,
    PRESET,
    SEEDS,
    TAGS,
    Raw,
    parse,
    written,
)


@dataclass(frozen=True)
class Draft:
    """A preset and the changes made to it so far.

    Attributes:
        edits: raw value of each changed field; never the preset's own value.
    """

    preset: str = DEFAULT_PRESET
    edits: Mapping[str, Raw] = field(default_factory=dict)

    @staticmethod
    def of_config(config: RunConfig, preset: str | None = None) -> "Draft":
        """Return the draft that gives this config."""
        draft = Draft(preset if preset in preset_names() else DEFAULT_PRESET)
        filled_in = OWN_FIELDS if config.model.pretrained else ()
        for name, value in flatten(config.model_dump(exclude={"method"})).items():
            if name in filled_in:
                continue
            draft = draft.edited(name, written(value))
        method = unpinned(config.method)  # a user's own as it is now
        if is_path(method):
            return draft.edited(METHODS, ()).edited(METHOD_FILES, shlex.quote(method))
        return draft.edited(METHODS, (method,))

    def raw(self, name: str) -> Raw:
        """Return the raw value of a field."""
        return self.edits.get(name, self.preset_raw(name))

    def preset_raw(self, name: str) -> Raw:
        """Return the raw value that the preset gives a field."""
        return preset_values(self.preset)[name]

    def values(self) -> Mapping[str, Raw]:
        """Return the raw values of all fields."""
        return {**preset_values(self.preset), **self.edits}

    @property
    def subject(self) -> object:
        """Everything an estimate depends on: two drafts with the same subject have the same estimate."""
        return self.preset, {name: raw for name, raw in self.edits.items() if name not in (NAME, TAGS)}

    def edited(self, name: str, raw: Raw) -> "Draft":
        """Return the draft with another value in a field."""
        if name == PRESET:
            return self.with_preset(str(raw))
        rest = {other: value for other, value in self.edits.items() if other != name}
        return replace(self, edits=rest if _same(raw, preset_values(self.preset)[name]) else {**rest, name: raw})

    def reset(self, name: str) -> "Draft":
        """Return the draft with the preset's value in a field."""
        return self.edited(name, preset_values(self.preset)[name])

    def with_preset(self, preset: str) -> "Draft":
        """Return the draft with another preset and the same changes."""
        draft = Draft(preset)
        for name, raw in self.edits.items():
            draft = draft.edited(name, raw)
        return draft

    @property
    def runs(self) -> int:
        """Number of runs; 0 if it is not known."""
        return len(self.methods) * self.seeds

    @property
    def seeds(self) -> int:
        """Number of seeds; 0 if it is not a number."""
        try:
            return int(str(self.raw(SEEDS)))
        except ValueError:
            return 0

    @property
    def methods(self) -> tuple[str, ...]:
        """Return the ticked methods, then the user's own files, as far as they can be told apart."""
        ticked = self.raw(METHODS)
        try:
            files = tuple(shlex.split(str(self.raw(METHOD_FILES))))
        except ValueError:  # a quotation mark that is not closed
            files = ()
        return (*(ticked if isinstance(ticked, tuple) else ()), *files)

    def layers(self) -> list[Layer]:
        """Return the layers of the config: the preset and the form."""
        values = {name: parse(FIELDS[name], raw) for name, raw in self.edits.items() if name in CONFIG_NAMES}
        return [preset_layer(self.preset), Layer("the form", values)]

    def unused(self) -> Mapping[str, str]:
        """Return why fields have no effect, by their names."""
        protocol, policy = str(self.raw("protocol")), str(self.raw("exit.policy"))
        why = f"protocol is {protocol}" if protocol == "full_depth" else f"exit.policy is {policy}"
        found = {f"exit.{name}": f"not used, as {why}" for name in unused_exit_settings(protocol, policy)}
        if self.raw("train.backbone") == "frozen":
            found |= {f"train.{name}": "not used, as train.backbone is frozen" for name in RECIPE_FIELDS}
        if self.raw("model.source") == OWN:
            own = (name for name in PRETRAINED_FIELDS if name != "source")
            found |= {f"model.{name}": f"not used, as model.source is {OWN}" for name in own}
        elif is_pretrained(str(self.raw("model.source"))):
            found |= dict.fromkeys(OWN_FIELDS, "not used, as model.source is a pretrained model with its own")
        return found

    def plan(self) -> Plan:
        """Return the plan of the experiment.

        Raises:
            ConfigError: a field is not valid; `problems` has all of them.
        """
        if wrong := self.problems():
            name, reason = next(iter(wrong.items()))
            raise ConfigError(f"{name} {reason}", wrong)
        name, tags = str(self.raw(NAME)).strip(), str(self.raw(TAGS)).split()
        return plan_from(self.layers(), self.methods, self.seeds, preset=self.preset, name=name or None, tags=tags)

    def problems(self) -> dict[str, str]:
        """Return what is wrong with each field, in the order of the form; empty if all are valid."""
        wrong = dict(self._experiment_problems())
        try:
            build(self.layers())
        except ConfigError as error:
            wrong |= error.reasons or {PRESET: str(error)}
        return {name: wrong[name] for name in FIELDS if name in wrong}

    def _experiment_problems(self) -> Iterator[tuple[str, str]]:
        if not self.methods:
            yield METHODS, "must be one at least"
        yield from self._file_problems()
        name = str(self.raw(NAME)).strip()
        if not 1 <= self.seeds <= MOST_SEEDS:
            yield SEEDS, f"must be 1 to {MOST_SEEDS}, got {self.raw(SEEDS)!r}"
        for what, texts, require in ((NAME, [name] if name else [], require_name), (TAGS, self._tags(), require_tag)):
            for text in texts:
                try:
                    require(what, text)
                except ConfigError as error:
                    yield what, str(error).removeprefix(f"{what} ")

    def _file_problems(self) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with the files of own methods, as far as that can be told without loading them."""
        try:
            for place in shlex.split(str(self.raw(METHOD_FILES))):
                if not is_path(place):
                    yield METHOD_FILES, f"must be paths, such as ./mine.py, got {place!r}"
                else:
                    pinned(EXIT_METHODS, place)
        except PluginError as error:
            yield METHOD_FILES, f"{error}, got {place!r}"
        except ValueError as error:
            yield METHOD_FILES, f"must be paths, quoted where they have spaces ({error})"

    def _tags(self) -> list[str]:
        return str(self.raw(TAGS)).split()


@cache
def preset_values(preset: str) -> Mapping[str, Raw]:
    """Return the raw value that a preset gives each field."""
    layer = preset_layer(preset)
    config = build([layer])
    methods = (config.method,) if "method" in layer.values else REPORT_METHODS
    own: dict[str, Raw] = {PRESET: preset, METHODS: methods, SEEDS: "1", NAME: "", TAGS: "", METHOD_FILES: ""}
    return own | {name: written(value) for name, value in flatten(config.model_dump()).items()}


def _same(raw: Raw, other: Raw) -> bool:
    """Whether two raw values mean the same."""
    if isinstance(raw, tuple) and isinstance(other, tuple):
        return set(raw) == set(other)
    if isinstance(raw, str) and isinstance(other, str):
        return _number(raw) == _number(other)
    return raw == other


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text.replace(" ", "") if text.replace(" ", "").replace(",", "").isdigit() else text.strip()
