"""What a run is made of: a frozen, validated `RunConfig`, and how it is put together from its sources.

The field names are those of the seed report. Every leaf name is unique, so `lr` and `train.lr` name the same field.
Values come in layers, later ones winning: a preset, config files, `--set a.b=value`, and named flags such as
`--corpus`. Each leaf remembers its layer, so a rejected value can be traced to the place it was written.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from core.errors import ConfigError
from core.naming import flatten, nest
from core.rejections import did_you_mean, explain

PRESETS = Path(__file__).parent / "presets"
EXITS = Path(__file__).parent / "exits"
DEFAULT_PRESET = "quick"


def _as_tuple(value: object) -> object:
    """Accept `(2, 2)`, `[2, 2]`, `"2,2"` and a single `4` for a tuple of integers."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    if isinstance(value, str):
        parts = [part.strip() for part in value.strip("()[] ").split(",") if part.strip()]
        return tuple(int(part) if re.fullmatch(r"-?[0-9]+", part) else part for part in parts) or value
    return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True)
class Unit:
    """What a field counts; goes into its annotation."""

    name: str


PositiveInt = Annotated[int, Field(gt=0)]
Tokens = Annotated[PositiveInt, Unit("tokens")]
Windows = Annotated[PositiveInt, Unit("windows")]
Epochs = Annotated[PositiveInt, Unit("epochs")]
BlockLayers = Annotated[tuple[PositiveInt, ...], BeforeValidator(_as_tuple), Unit("layers")]


class Section(BaseModel):
    """Frozen and strict: no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataConfig(Section):
    """Where the text comes from and how it is cut into windows."""

    corpus: str = Field("pydocs", min_length=1, description="pydocs, a path or glob, or hub:NAME[:CONFIG]")
    eval_corpus: str | None = Field(
        None, min_length=1, description="text to evaluate on; without it the tail of the corpus is held out"
    )
    tokenizer: Literal["auto", "word", "bpe"] = Field(
        "auto", description="word: lower().split(); bpe: byte-level BPE; auto: bpe for pydocs, word for the rest"
    )
    vocab_size: Annotated[int, Unit("tokens")] = Field(
        4096, ge=257, le=1_000_000, description="entries of the bpe vocabulary (word: all words)"
    )
    seq_len: Tokens = Field(32, description="tokens of a window")
    num_samples: Windows = Field(10_000, description="windows of seq_len + 1 tokens taken from the training text")
    eval_ratio: Annotated[float, Unit("× num_samples")] = Field(
        0.2, gt=0, le=10, description="evaluation windows as a share of num_samples"
    )


class ModelConfig(Section):
    """The transformer's dimensions."""

    dim: PositiveInt = Field(64, description="width of the hidden state")
    num_heads: PositiveInt = Field(4, description="attention heads")
    ffn_dim: PositiveInt = Field(256, description="width of the feed-forward layer")
    block_layers: BlockLayers = Field((2, 2), min_length=1, description="layers of each block; an exit after each")
    max_seq_len: Tokens = Field(1024, description="largest position the rotary embedding covers")
    causal: bool = Field(True, description="attend to earlier tokens only")
    eps: float = Field(1e-6, gt=0, description="epsilon of RMSNorm")

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> Self:
        if self.dim % (2 * self.num_heads):
            raise ValueError(
                f"dim must be a multiple of 2 × num_heads (rotary positions turn pairs), got dim={self.dim} and "
                f"num_heads={self.num_heads}"
            )
        return self


class TrainConfig(Section):
    """How a block is trained."""

    lr: float = Field(1e-3, gt=0, description="learning rate of block 0 (AdamW) and of its exit classifier (Adam)")
    later_lr_scale: Annotated[float, Unit("× lr")] = Field(
        0.1, gt=0, description="factor on lr for every later block and its exit classifier"
    )
    batch_size: Windows = Field(64, description="windows of a batch")
    max_epochs: Epochs = Field(50, description="most epochs of a block")
    patience: Epochs = Field(3, description="epochs without a better early-stopping PPL before a block stops")
    grad_clip: float = Field(1.0, gt=0, description="largest gradient norm of the block and the head together")
    val_ratio: Annotated[float, Unit("of windows")] = Field(
        0.2, gt=0, lt=1, description="share of the training windows kept for early stopping"
    )


class ExitConfig(Section):
    """How tokens leave."""

    hard_ratio: Annotated[float, Unit("of tokens")] = Field(
        0.5, description="share of tokens that goes on: the threshold is this quantile"
    )
    exit_classifier_mode: Literal["post", "joint"] = Field(
        "post", description="post: fit the exit classifier after the block; joint: add its loss to the LM loss"
    )
    exit_epochs: Epochs = Field(10, description="epochs of the exit classifier (post)")
    last_exit: bool = Field(
        True, description="give the last block a classifier and a threshold too, as the report does; nothing uses them"
    )

    @field_validator("hard_ratio")
    @classmethod
    def _some_hard_some_easy(cls, value: float) -> float:
        if value <= 0:
            raise ValueError("must be > 0: with no hard tokens the next block has nothing to train on")
        if value >= 1:
            raise ValueError("must be < 1: when every token is hard no token ever leaves early")
        return value


class MachineConfig(Section):
    """What a run computes on; part of the config because it is part of the numbers."""

    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:N or mps")
    threads: Annotated[int, Unit("threads")] = Field(
        0, ge=0, le=1024, description="CPU threads; 0 takes torch's own choice"
    )
    dtype: Literal["float32", "float64"] = Field("float32", description="number type of weights and states")


def method_names() -> tuple[str, ...]:
    """The exit methods there are: one file each under `core/exits/`, listed without importing them."""
    return tuple(sorted(path.stem for path in EXITS.glob("*.py") if not path.stem.startswith("_")))


class RunConfig(Section):
    """Everything that decides a run's numbers."""

    method: str = Field("loss", description="the exit method")
    seed: int = Field(42, ge=0, lt=2**63, description="root of every random stream")
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    exit: ExitConfig = ExitConfig()
    machine: MachineConfig = MachineConfig()

    @field_validator("method")
    @classmethod
    def _known_method(cls, value: str) -> str:
        if value not in method_names():
            raise ValueError(f"must be one of {', '.join(method_names())}")
        return value

    @model_validator(mode="after")
    def _windows_fit_positions(self) -> Self:
        if self.data.seq_len > self.model.max_seq_len:
            raise ValueError(
                f"data.seq_len must be at most model.max_seq_len, got {self.data.seq_len} and {self.model.max_seq_len}"
            )
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
