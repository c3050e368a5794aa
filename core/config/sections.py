"""The sections of a run's config: every field with its type, its default and what it means.

The defaults of what a protocol can differ in are the seed report's, so a config that was stored before a switch
existed keeps its meaning.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from core.extensions.kinds import CORPUS_READERS


def _as_tuple(value: object) -> object:
    """Accept `(2, 2)`, `[2, 2]`, `"2,2"` and a single `4` for a tuple of integers."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    if isinstance(value, str):
        parts = [part.strip() for part in value.strip("()[] ").split(",") if part.strip()]
        return tuple(int(part) if re.fullmatch(r"-?[0-9]+", part) else part for part in parts) or value
    return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True)
class FieldUnit:
    """What a field counts; goes into its annotation."""

    name: str


PositiveInt = Annotated[int, Field(gt=0)]
Tokens = Annotated[PositiveInt, FieldUnit("tokens")]
Windows = Annotated[PositiveInt, FieldUnit("windows")]
Epochs = Annotated[PositiveInt, FieldUnit("epochs")]
BlockLayers = Annotated[tuple[PositiveInt, ...], BeforeValidator(_as_tuple), FieldUnit("layers")]


class Section(BaseModel):
    """Frozen and strict: no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataConfig(Section):
    """Where the text comes from and how it is cut into windows."""

    corpus: str = Field(
        "pydocs", min_length=1, description=f"text: {', '.join(CORPUS_READERS.said('usage'))}, or your own reader"
    )
    eval_corpus: str | None = Field(
        None, min_length=1, description="text to evaluate on; without it the tail of the corpus is held out"
    )
    tokenizer: Literal["auto", "word", "bpe"] = Field(
        "auto", description="word: lower().split(); bpe: byte-level BPE; auto: the corpus reader's own choice"
    )
    vocab_size: Annotated[int, FieldUnit("tokens")] = Field(
        4096, ge=257, le=1_000_000, description="entries of the bpe vocabulary (word: all words)"
    )
    seq_len: Tokens = Field(32, description="tokens of a window")
    num_samples: Windows = Field(10_000, description="windows of seq_len + 1 tokens taken from the training text")
    eval_ratio: Annotated[float, FieldUnit("× num_samples")] = Field(
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
    norm: Literal["post", "pre"] = Field(
        "post", description="post: normalise after each residual sum; pre: before each branch, and before each exit"
    )
    dropout: Annotated[float, FieldUnit("of values")] = Field(
        0.0, ge=0, lt=1, description="share of values dropped in training, after the embedding and in each branch"
    )
    tie_embedding: bool = Field(False, description="one matrix is both the embedding and the output head")

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
    later_lr_scale: Annotated[float, FieldUnit("× lr")] = Field(
        0.1, gt=0, description="factor on lr for every later block and its exit classifier"
    )
    batch_size: Windows = Field(64, description="windows of a batch")
    max_epochs: Epochs = Field(50, description="most epochs of a block")
    patience: Epochs = Field(3, description="epochs without a better early-stopping PPL before a block stops")
    grad_clip: float = Field(1.0, gt=0, description="largest gradient norm of the block and the head together")
    val_ratio: Annotated[float, FieldUnit("of windows")] = Field(
        0.2, gt=0, lt=1, description="share of the training windows kept for early stopping"
    )
    train_embedding: bool = Field(False, description="train the embedding, with block 0; else it stays as it was drawn")
    head: Literal["shared", "frozen", "per_block"] = Field(
        "shared",
        description="output head: shared: one, trained by every block; frozen: one, trained by block 0 alone; "
        "per_block: each block its own, begun as a copy of the one before",
    )
    split: Literal["random_windows", "contiguous"] = Field(
        "random_windows", description="early stopping on random windows, or on the tail of the training text"
    )
    later_init: Literal["random", "identity"] = Field(
        "random", description="later blocks start at random, or so that they pass on what they are given"
    )
    warmup_steps: Annotated[int, FieldUnit("steps")] = Field(
        0, ge=0, description="steps in which a block's learning rate rises to its full value"
    )
    decay: Literal["constant", "cosine"] = Field(
        "constant", description="learning rate after warm-up: constant, or falling to 0 at max_epochs along a cosine"
    )
    weight_decay: float = Field(0.01, ge=0, description="weight decay of AdamW, times the learning rate at each step")
    label_smoothing: Annotated[float, FieldUnit("of a target")] = Field(
        0.0, ge=0, lt=1, description="share of each target that is spread over all words: words never seen cost less"
    )


class ExitConfig(Section):
    """How tokens leave."""

    hard_ratio: Annotated[float, FieldUnit("of tokens")] = Field(
        0.5, description="share of tokens that goes on: the threshold is this quantile"
    )
    exit_classifier_mode: Literal["post", "joint"] = Field(
        "post", description="post: fit the exit classifier after the block; joint: add its loss to the LM loss"
    )
    exit_epochs: Epochs = Field(10, description="epochs of the exit classifier (post)")
    last_exit: bool = Field(
        True, description="give the last block a classifier and a threshold too, as the report does; nothing uses them"
    )
    hard_tokens: Literal["repack", "mask"] = Field(
        "repack",
        description="later blocks train on hard tokens: repack: packed into new windows; mask: in their own windows, "
        "where only they count",
    )
    calibration: Literal["train", "heldout"] = Field(
        "train", description="classifier and threshold come from the training windows, or from a split held out"
    )
    calibration_ratio: Annotated[float, FieldUnit("of windows")] = Field(
        0.1, gt=0, lt=1, description="share of the training windows, at their end, held out for calibration (heldout)"
    )
    exited_state: Literal["input", "copy", "drop"] = Field(
        "input",
        description="a token that has left: input: enters later blocks as it entered the one it left, and runs "
        "through; copy: leaves its state behind, for others to attend to; drop: is attended to no more",
    )
    classifier_fit: Literal["adam", "lbfgs"] = Field(
        "adam", description="fit of the exit classifier (post): exit_epochs of Adam, or L-BFGS on all tokens at once"
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
    threads: Annotated[int, FieldUnit("threads")] = Field(
        0, ge=0, le=1024, description="CPU threads; 0 takes as many as are free when the run starts"
    )
    dtype: Literal["float32", "float64"] = Field("float32", description="number type of weights and states")
    head_dtype: Literal["same", "bfloat16"] = Field(
        "same",
        description="number type of the output head's products in training: same: dtype; bfloat16: faster where the "
        "processor has it, less exact; what is measured after training is computed in dtype",
    )
