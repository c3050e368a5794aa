"""The config of a run: a frozen, validated `RunConfig`, built from layers of values.

The field names are those of the seed report. Every leaf name is unique, so `lr` and `train.lr` name the same field.
Layers are a preset, config files, `--set a.b=value`, and named flags such as `--corpus`; later ones override earlier
ones. The message about a rejected value names its layer.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from core.config.dotted_names import flatten, nest
from core.config.messages import did_you_mean, explain, near_name, shortened
from core.config.sections import OWN_FIELDS
from core.config.sections import DataConfig as DataConfig  # re-exported
from core.config.sections import ExitConfig as ExitConfig
from core.config.sections import FieldUnit as FieldUnit
from core.config.sections import MachineConfig as MachineConfig
from core.config.sections import ModelConfig as ModelConfig
from core.config.sections import Section as Section
from core.config.sections import TrainConfig as TrainConfig
from core.config.stored import completed
from core.config.toml_file import read_toml
from core.errors import ConfigError
from core.extensions.imported import IMPORTED_SIGNAL
from core.extensions.kinds import EXIT_METHODS
from core.extensions.plugins import PIN, installed, pinned, short_name

PRESETS = Path(__file__).parent / "presets"
DEFAULT_PRESET = "sound"
PRETRAINED_PRESET = "pretrained"
"""Preset of runs on a pretrained model."""


def method_names() -> tuple[str, ...]:
    """List the built-in exit methods: one file each under `core/exits/`, listed without importing them."""
    return EXIT_METHODS.built_in


def method_labels() -> dict[str, str]:
    """Map the names that `method` takes to how each is shown: built-in ones, then installed ones, marked."""
    return {name: name for name in method_names()} | {name: f"{name} (own)" for name in installed(EXIT_METHODS)}


class RunConfig(Section):
    """Everything that decides a run's numbers."""

    method: str = Field("loss", description="exit method: a name, or the path of your own file")
    protocol: Literal["staged", "joint", "full_depth", "frozen"] = Field(
        "staged",
        description="staged: one block after the other; joint: all blocks together, each with its loss; full_depth: "
        "all blocks together, with the last block's loss only and no exits; frozen: a pretrained model as it is, with "
        "readouts and exits of its own",
    )
    seed: int = Field(42, ge=0, lt=2**63, description="seed of every random stream")
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
        """Check the name; pin a user's own method to its content (`core.extensions.plugins`)."""
        return pinned(EXIT_METHODS, value)

    @model_validator(mode="after")
    def _windows_fit_positions(self) -> Self:
        if self.data.seq_len > self.model.max_seq_len and not (self.model.pretrained or self.model.imported):
            raise ValueError(
                f"data.seq_len must be at most model.max_seq_len, got {self.data.seq_len} and {self.model.max_seq_len}"
            )
        return self

    @model_validator(mode="after")
    def _switches_agree(self) -> Self:
        if self.model.tie_embedding and not self.train.train_embedding and not self.model.pretrained:
            raise ValueError(
                "model.tie_embedding needs train.train_embedding: the head is trained, and the embedding is the same "
                "matrix"
            )
        if self.exit.policy != "quantile" and self.protocol == "full_depth":
            raise ValueError(
                "exit.policy must be quantile where protocol is full_depth: a price weighs later blocks' losses at "
                "exits, and there are no exits"
            )
        if self.exit.cost == "flops" and self.exit.exited_state in ("input", "deferred"):
            raise ValueError(
                f"exit.cost must be layers where exit.exited_state is {self.exit.exited_state}: exited tokens run "
                "through the later blocks, so leaving saves no FLOPs of its own; take exit.exited_state "
                + ("copy or linear" if self.protocol == "frozen" else "copy or drop")
            )
        if (
            self.exit.classifier == "mlp"
            and self.exit.classifier_fit == "lbfgs"
            and not EXIT_METHODS.is_declared(self.method, "predicts_gains")
        ):
            raise ValueError(
                "exit.classifier must be linear where exit.classifier_fit is lbfgs, which fits no hidden layer: take "
                "exit.classifier_fit adam, or method gain"
            )
        if self.train.exits_from:
            self._exits_can_be_in_training()
        if self.protocol == "full_depth" and self.train.head == "per_block":
            raise ValueError(
                "train.head must be shared or frozen where protocol is full_depth: only the last block predicts"
            )
        return self

    @model_validator(mode="after")
    def _frozen_is_pretrained(self) -> Self:
        """Check what the protocol of pretrained models needs, and that no other has what it alone knows."""
        if self.method.startswith(IMPORTED_SIGNAL) != self.model.imported:
            raise ValueError(
                "model.source is imported, and method too, of runs that eetui import makes, and of no others"
            )
        if (self.model.pretrained or self.model.imported) != (self.protocol == "frozen"):
            raise ValueError(
                "protocol must be frozen where model.source is a pretrained model, and only there: take preset "
                "pretrained"
            )
        if self.protocol == "frozen":
            if self.exit.exited_state not in ("copy", "linear", "deferred"):
                raise ValueError("exit.exited_state must be copy, linear or deferred where protocol is frozen")
            needed = {"exit_classifier_mode": "post", "last_exit": False}
            for name, value in needed.items():
                if getattr(self.exit, name) != value:
                    raise ValueError(f"exit.{name} must be {value} where protocol is frozen: take preset pretrained")
            if self.exit.calibration == "train":
                raise ValueError("exit.calibration must be heldout or spread where protocol is frozen")
            if self.data.tokenizer not in ("auto", "model"):
                raise ValueError("data.tokenizer must be auto or model: a pretrained model knows its own tokens only")
            if not self.model.causal:
                raise ValueError("model.causal must be true: pretrained models attend to earlier tokens only")
            if self.train.backbone == "all" and self.machine.dtype not in ("float32", "bfloat16"):
                raise ValueError(
                    f"machine.dtype must be float32 or bfloat16 where train.backbone is all, got {self.machine.dtype}: "
                    "small gradients would be 0 in float16, and float64 is twice as large for nothing"
                )
        elif self.exit.exited_state == "linear":
            raise ValueError(
                "exit.exited_state must not be linear for a model of our own, whose blocks learn from states as exits "
                "leave them: take copy"
            )
        elif self.train.backbone == "all":
            raise ValueError(
                "train.backbone must be frozen for a model of our own, whose layers are trained anyway: leave it out, "
                "or name a pretrained model in model.source"
            )
        elif self.machine.dtype in ("bfloat16", "float16"):
            raise ValueError("machine.dtype must be float32 or float64 for a model that is trained")
        elif self.data.tokenizer == "model":
            raise ValueError("data.tokenizer model needs a pretrained model in model.source")
        elif self.data.bos_token:
            raise ValueError(
                "data.bos_token needs a pretrained model in model.source, whose tokenizer has such a token"
            )
        return self

    @model_validator(mode="after")
    def _pretrained_has_its_own(self) -> Self:
        """Refuse what would be overwritten, or ignored. A run's config has it all, and names its model with a hash."""
        if not self.model.pretrained or PIN in self.model.source:
            return self
        for name in OWN_FIELDS:
            section, _, leaf = name.partition(".")
            if leaf in getattr(self, section).model_fields_set:
                raise ValueError(
                    f"{name} must be left out where model.source is a pretrained model, which has its own or no use "
                    f"for it"
                )
        return self

    def _exits_can_be_in_training(self) -> None:
        """Check that blocks train together, with exits at which tokens are gone, and for long enough."""
        if self.protocol != "joint":
            raise ValueError(
                f"train.exits_from must be 0 where protocol is {self.protocol}: only protocol joint trains blocks "
                "together and has exits between them"
            )
        if self.exit.exited_state == "input":
            raise ValueError(
                "train.exits_from must be 0 where exit.exited_state is input: exited tokens run through the later "
                "blocks, so none are gone; take exit.exited_state copy or drop"
            )
        if self.train.exits_from > self.train.max_epochs:
            raise ValueError(
                f"train.exits_from must be at most train.max_epochs, got {self.train.exits_from} and "
                f"{self.train.max_epochs}"
            )


@dataclass(frozen=True)
class Layer:
    """Values of one source; `origin` names it for the user, such as `--set lr=-1`."""

    origin: str
    values: Mapping[str, Any]


@cache  # for every run of a sweep
def fields() -> Mapping[str, tuple[str, Any]]:
    """Return every leaf's description and default by its dotted name, for help texts."""
    return MappingProxyType({name: (info.description or "", info.default) for name, info in leaves()})


def leaves(section: type[BaseModel] = RunConfig, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every leaf's dotted name and pydantic's information about it, for forms."""
    for name, info in section.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from leaves(info.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, info


def preset_names() -> tuple[str, ...]:
    """List the presets, in alphabetical order."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.toml")))


def preset_layer(name: str) -> Layer:
    """Read the layer of a preset.

    Raises:
        ConfigError: there is no such preset.
    """
    if name not in preset_names():
        raise ConfigError(
            f"--preset must be one of {', '.join(preset_names())}, got {name!r}{near_name(name, preset_names())}"
        )
    return file_layer(PRESETS / f"{name}.toml", origin=f"preset {name}")


def file_layer(path: Path, origin: str | None = None) -> Layer:
    """Read the layer of a TOML file.

    Raises:
        ConfigError: the file is missing, unreadable or not TOML.
    """
    try:
        return Layer(origin or f"config file {path}", flatten(read_toml(path)))
    except OSError as error:
        raise ConfigError(f"config file {path} can't be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"config file {path} is not valid TOML: {error}") from error


def set_layer(assignment: str) -> Layer:
    """Parse one `--set name=value` into a layer; the value is TOML, else plain text.

    Raises:
        ConfigError: it has no name or no `=`.
    """
    name, equals, text = assignment.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"--set takes name=value, such as train.lr=3e-4, got {shortened(assignment)!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # not TOML, a number of too many digits, brackets in brackets
        value = text.strip()
    return Layer(f"--set {shortened(assignment)}", {name.strip(): value})


def build(layers: Iterable[Layer]) -> RunConfig:
    """Build the config from its layers; later layers override earlier ones.

    Raises:
        ConfigError: a key is unknown or a value rejected; each has a line with field, value, reason and source.
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
                problems.append(
                    f"unknown config key {shortened(key)!r} (from {layer.origin}){did_you_mean(key, known)}"
                )
                continue
            values[name] = value
            origins[name] = layer.origin
    try:
        config = RunConfig.model_validate(nest(values))
    except ValidationError as error:
        for problem in error.errors():
            line, about = explain(problem, origins, known)
            if about and about.keys() <= reasons.keys():
                continue  # pydantic says of a tuple with a bad item that it is too short as well
            problems.append(line)
            reasons |= about
    if problems:
        raise ConfigError("\n".join(problems), reasons)
    return config


def rebuilt(config: Mapping[str, Any], source: str) -> RunConfig:
    """Build the config of a stored run, with what is newer than it as it was then (`core.config.stored`).

    Args:
        source: what messages call where it comes from.

    Raises:
        ConfigError: a key is unknown or a value rejected.
    """
    return build([Layer(source, completed(config))])


def _full_name(key: str, known: Sequence[str]) -> str | None:
    if key in known:
        return key
    return next((name for name in known if name.rpartition(".")[2] == key), None)
