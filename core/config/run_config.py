"""What a run is made of: a frozen, validated `RunConfig`, and how it is put together from its sources.

The field names are those of the seed report. Every leaf name is unique, so `lr` and `train.lr` name the same field.
Values come in layers, later ones winning: a preset, config files, `--set a.b=value`, and named flags such as
`--corpus`. Each leaf remembers its layer, so a rejected value can be traced to the place it was written.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from core.config.dotted_names import flatten, nest
from core.config.messages import did_you_mean, explain
from core.config.sections import DataConfig as DataConfig  # the sections are part of what a config offers
from core.config.sections import ExitConfig as ExitConfig
from core.config.sections import FieldUnit as FieldUnit
from core.config.sections import MachineConfig as MachineConfig
from core.config.sections import ModelConfig as ModelConfig
from core.config.sections import Section as Section
from core.config.sections import TrainConfig as TrainConfig
from core.errors import ConfigError
from core.extensions.kinds import EXIT_METHODS
from core.extensions.plugins import installed, pinned, short_name

PRESETS = Path(__file__).parent / "presets"
DEFAULT_PRESET = "sound"


def method_names() -> tuple[str, ...]:
    """The built-in exit methods: one file each under `core/exits/`, listed without importing them."""
    return EXIT_METHODS.built_in


def method_labels() -> dict[str, str]:
    """Names that `method` takes and how each is shown: the built-in ones, then those of installed packages, marked."""
    return {name: name for name in method_names()} | {name: f"{name} (own)" for name in installed(EXIT_METHODS)}


class RunConfig(Section):
    """Everything that decides a run's numbers."""

    method: str = Field("loss", description="exit method: a name, or the path of your own file")
    protocol: Literal["staged", "joint", "full_depth"] = Field(
        "staged",
        description="staged: block after block; joint: all blocks and their exits together; full_depth: all blocks for "
        "the last one's prediction, no exits",
    )
    seed: int = Field(42, ge=0, lt=2**63, description="root of every random stream")
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    exit: ExitConfig = ExitConfig()
    machine: MachineConfig = MachineConfig()

    @property
    def method_name(self) -> str:
        """The exit method's name in lists: a user's own file without its path and hash."""
        return short_name(self.method)

    @field_validator("method")
    @classmethod
    def _known_method(cls, value: str) -> str:
        """A user's own method is pinned to its content (`core.extensions.plugins`)."""
        return pinned(EXIT_METHODS, value)

    @model_validator(mode="after")
    def _windows_fit_positions(self) -> Self:
        if self.data.seq_len > self.model.max_seq_len:
            raise ValueError(
                f"data.seq_len must be at most model.max_seq_len, got {self.data.seq_len} and {self.model.max_seq_len}"
            )
        return self

    @model_validator(mode="after")
    def _switches_agree(self) -> Self:
        if self.model.tie_embedding and not self.train.train_embedding:
            raise ValueError(
                "model.tie_embedding needs train.train_embedding: the one matrix can't be trained and stay as it was"
            )
        if self.protocol == "full_depth" and self.train.head == "per_block":
            raise ValueError("train.head must be shared or frozen where protocol is full_depth: it predicts once")
        return self


@dataclass(frozen=True)
class Layer:
    """Values of one source; `origin` is how the user would recognise it, such as `--set lr=-1`."""

    origin: str
    values: Mapping[str, Any]


def fields() -> dict[str, tuple[str, Any]]:
    """Every leaf by its dotted name: (description, default). The source of help texts."""
    return {name: (info.description or "", info.default) for name, info in leaves()}


def leaves(section: type[BaseModel] = RunConfig, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every leaf's dotted name and what pydantic knows of it. The source of forms."""
    for name, info in section.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from leaves(info.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, info


def preset_names() -> tuple[str, ...]:
    """The presets there are, in alphabetical order."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.toml")))


def preset_layer(name: str) -> Layer:
    """The layer of a preset.

    Raises:
        ConfigError: there is no such preset.
    """
    if name not in preset_names():
        raise ConfigError(
            f"--preset must be one of {', '.join(preset_names())}, got {name!r}{did_you_mean(name, preset_names())}"
        )
    return file_layer(PRESETS / f"{name}.toml", origin=f"preset {name}")


def file_layer(path: Path, origin: str | None = None) -> Layer:
    """The layer of a TOML file.

    Raises:
        ConfigError: the file is missing, unreadable or not TOML.
    """
    try:
        return Layer(origin or f"config file {path}", flatten(tomllib.loads(path.read_text(encoding="utf-8"))))
    except OSError as error:
        raise ConfigError(f"config file {path} can't be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {path} is not valid TOML: {error}") from error


def set_layer(assignment: str) -> Layer:
    """The layer of one `--set name=value`; the value is read as TOML, else as plain text.

    Raises:
        ConfigError: there is no `=` in it.
    """
    name, equals, text = assignment.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"--set takes name=value, such as train.lr=3e-4, got {assignment!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    return Layer(f"--set {assignment}", {name.strip(): value})


def build(layers: Iterable[Layer]) -> RunConfig:
    """The config that the layers add up to, later layers winning.

    Raises:
        ConfigError: with one line for each unknown key and each rejected value: field, value, why, where from.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    problems: list[str] = []
    reasons: dict[str, str] = {}
    known = tuple(fields())
    for layer in layers:
        for key, value in layer.values.items():
            name = _full_name(key, known)
            if name is None:
                problems.append(f"unknown config key {key!r} (from {layer.origin}){did_you_mean(key, known)}")
                continue
            values[name] = value
            origins[name] = layer.origin
    try:
        config = RunConfig.model_validate(nest(values))
    except ValidationError as error:
        for problem in error.errors():
            line, about = explain(problem, origins, known)
            problems.append(line)
            reasons |= about
    if problems:
        raise ConfigError("\n".join(problems), reasons)
    return config


def _full_name(key: str, known: Sequence[str]) -> str | None:
    if key in known:
        return key
    return next((name for name in known if name.rpartition(".")[2] == key), None)
