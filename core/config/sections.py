"""The sections of a run's config: every field with its type, default and meaning.

The defaults of the protocol's switches are the seed report's, so a config that was stored before a switch existed keeps
its meaning.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from core.extensions.imported import IMPORTED
from core.extensions.kinds import CORPUS_READERS
from core.pretrained.place import check_form, is_pretrained


def _as_tuple(value: object) -> object:
    """Accept `(2, 2)`, `[2, 2]`, `"2,2"` and a single `4` for a tuple of integers."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    if isinstance(value, str):
        parts = [part.strip() for part in value.strip("()[] ").split(",") if part.strip()]
        if not parts or not all(re.fullmatch(r"-?[0-9]{1,18}", part) for part in parts):
            raise ValueError("must be the layers of each block, such as 2,2, or every=N of a pretrained model")
        return tuple(map(int, parts))
    return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True)
class FieldUnit:
    """Unit of a field's value, used in its annotation."""

    name: str


MOST = 2**31 - 1
"""Largest count of any kind: what is larger is a mistake, and would not fit the integers of other programs."""
MOST_BLOCKS, MOST_LAYERS, WIDEST = 256, 1_000, 1_000_000
"""Largest number of blocks, of a block's layers, and of values of a state: far beyond what any machine trains."""

PositiveInt = Annotated[int, Field(gt=0, le=MOST)]
Width = Annotated[PositiveInt, Field(le=WIDEST)]
Layers = Annotated[PositiveInt, Field(le=MOST_LAYERS)]
Tokens = Annotated[PositiveInt, FieldUnit("tokens")]
Windows = Annotated[PositiveInt, FieldUnit("windows")]
Epochs = Annotated[PositiveInt, FieldUnit("epochs")]
PRETRAINED_FIELDS = ("source", "num_kv_heads", "head_dim", "ffn", "every", "readout", "last_readout")
"""Fields of `ModelConfig` that only pretrained models may have other than by default."""
OWN_FIELDS = (
    "data.vocab_size", "model.dim", "model.num_heads", "model.ffn_dim", "model.num_kv_heads", "model.head_dim",
    "model.ffn", "model.max_seq_len", "model.eps", "model.norm", "model.dropout", "model.tie_embedding",
    "train.train_embedding", "train.head", "train.later_init",
)  # fmt: skip
"""Fields by dotted name that a pretrained model has values of its own for, or no use for."""
RECIPE_FIELDS = ("layer_dropout", "dropout_schedule", "exit_loss_scale", "exit_curriculum", "exit_rotation")
"""Fields of `TrainConfig` that say how a pretrained backbone is trained."""
BlockLayers = Annotated[tuple[Layers, ...], BeforeValidator(_as_tuple), FieldUnit("layers")]


class Section(BaseModel):
    """A frozen and strict section: no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataConfig(Section):
    """The text, its tokenizer, and its windows."""

    corpus: str = Field(
        "pydocs", min_length=1, description=f"text: {', '.join(CORPUS_READERS.said('usage'))}, or your own reader"
    )
    eval_corpus: str | None = Field(
        None, min_length=1, description="text to evaluate on; without it the end of the corpus is held out"
    )
    tokenizer: Literal["auto", "word", "bpe", "model"] = Field(
        "auto",
        description="word: lower().split(); bpe: byte-level BPE; model: the pretrained model's own; auto: that, "
        "else the corpus reader's own choice",
    )
    vocab_size: Annotated[int, FieldUnit("tokens")] = Field(
        4096, ge=257, le=1_000_000, description="tokens of the bpe vocabulary; a word vocabulary has all words"
    )
    seq_len: Tokens = Field(32, description="tokens of a window")
    num_samples: Windows = Field(10_000, description="windows of seq_len + 1 tokens taken from the training text")
    eval_ratio: Annotated[float, FieldUnit("× num_samples")] = Field(
        0.2, gt=0, le=10, description="evaluation windows as a share of num_samples"
    )
    stride: int = Field(
        0,
        ge=0,
        le=MOST,
        description="evaluate also on windows that begin every so many tokens, of which only the new ones count, as "
        "PPL of WikiText is often given; 0: on windows side by side only",
    )
    bos_token: bool = Field(
        False,
        description="pretrained: begin every window with the tokenizer's beginning-of-text token, which is no target",
    )
    full_batches: bool = Field(
        True,
        description="leave out the windows at the end of each split that fill no batch of batch_size, as in the "
        "report; else all are trained on and evaluated, whatever the batch",
    )

    @model_validator(mode="after")
    def _strides_overlap(self) -> Self:
        if self.stride > self.seq_len:
            raise ValueError(
                f"data.stride must be at most data.seq_len, or tokens would be left out, got {self.stride} and "
                f"{self.seq_len}"
            )
        return self


class ModelConfig(Section):
    """The transformer's dimensions. Those of a pretrained model are its own, filled in when a run is prepared."""

    source: str = Field(
        "own",
        description="own: a new transformer of these dimensions; hf:PLACE[@REVISION]: a pretrained model, from a "
        "folder, a GGUF file or the hub (protocol frozen)",
    )
    dim: Width = Field(64, description="width of the hidden state")
    num_heads: Width = Field(4, description="attention heads")
    ffn_dim: Width = Field(256, description="width of the feed-forward layer")
    num_kv_heads: int = Field(
        0, ge=0, le=WIDEST, description="pretrained: heads of keys and values; 0: as many as num_heads"
    )
    head_dim: int = Field(0, ge=0, le=WIDEST, description="pretrained: width of an attention head; 0: dim / num_heads")
    ffn: Literal["gated", "plain"] = Field(
        "gated", description="pretrained: feed-forward of three matrices (gated) or two (plain)"
    )
    block_layers: BlockLayers = Field(
        (2, 2),
        min_length=1,
        max_length=MOST_BLOCKS,
        description="layers of each block; an exit after each; pretrained: they must add up, every=N cuts after every "
        "N, and without any there are five blocks",
    )
    every: Annotated[int, FieldUnit("layers")] = Field(
        0,
        ge=0,
        le=MOST_LAYERS,
        description="pretrained: layers of each block; the last has the rest; 0: as block_layers says",
    )
    readout: Literal["final", "norm", "affine", "mlp", "head"] = Field(
        "final",
        description="pretrained: what turns an exit's state into a prediction: final: the model's norm and head; norm: "
        "a norm of its own; affine, mlp: a residual map before them; head: a head of its own",
    )
    last_readout: bool = Field(False, description="pretrained: the last block has a readout of its own too")
    max_seq_len: Tokens = Field(1024, description="number of positions of the rotary embedding")
    causal: bool = Field(True, description="attend to earlier tokens only")
    eps: float = Field(1e-6, gt=0, description="epsilon of RMSNorm")
    norm: Literal["post", "pre"] = Field(
        "post",
        description="post: normalise after each residual sum; pre: before each residual branch and before each exit",
    )
    dropout: Annotated[float, FieldUnit("of values")] = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of values dropped in training, after the embedding and in each residual branch",
    )
    tie_embedding: bool = Field(False, description="use one matrix as the embedding and the output head")

    @property
    def pretrained(self) -> bool:
        """Whether it is a pretrained model rather than one of our own."""
        return is_pretrained(self.source)

    @property
    def imported(self) -> bool:
        """Whether only its numbers were imported: eetui has no such model."""
        return self.source == IMPORTED

    @field_validator("source")
    @classmethod
    def _known_form(cls, value: str) -> str:
        return check_form(value)

    @model_validator(mode="before")
    @classmethod
    def _every_as_a_field(cls, values: object) -> object:
        """Accept `block_layers="every=6"` for `every = 6`."""
        written = values.get("block_layers") if isinstance(values, dict) else None
        if not isinstance(written, str) or not (found := re.fullmatch(r"every=(\d+)", written.replace(" ", ""))):
            return values
        assert isinstance(values, dict)
        return {name: value for name, value in values.items() if name != "block_layers"} | {"every": int(found[1])}

    @model_validator(mode="after")
    def _own_has_no_others(self) -> Self:
        changed = [name for name in PRETRAINED_FIELDS if getattr(self, name) != type(self).model_fields[name].default]
        if changed and not self.pretrained and not (self.imported and changed == ["source"]):
            if self.every:
                raise ValueError(
                    "model.block_layers=every=N (model.every) is for pretrained models: write the layers of each "
                    "block, such as 2,2, or name a pretrained model in model.source"
                )
            raise ValueError(f"{changed[0]} is for pretrained models: leave it out, or name one in source")
        return self

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> Self:
        if not self.pretrained and self.dim % (2 * self.num_heads):
            raise ValueError(
                f"dim must be a multiple of 2 × num_heads (rotary positions rotate pairs of values), got "
                f"dim={self.dim} and num_heads={self.num_heads}"
            )
        return self


class TrainConfig(Section):
    """The training of a block."""

    lr: float = Field(1e-3, gt=0, description="learning rate of block 0 (AdamW) and of its exit classifier (Adam)")
    later_lr_scale: Annotated[float, FieldUnit("× lr")] = Field(
        0.1, gt=0, description="factor on lr for every later block and its exit classifier"
    )
    batch_size: Windows = Field(64, description="windows of a batch")
    max_epochs: Epochs = Field(50, description="largest number of epochs of a block")
    patience: Epochs = Field(3, description="epochs without a better early-stopping PPL after which training stops")
    grad_clip: float = Field(1.0, gt=0, description="largest gradient norm of the block and the head together")
    val_ratio: Annotated[float, FieldUnit("of windows")] = Field(
        0.2, gt=0, lt=1, description="share of the training windows kept for early stopping"
    )
    train_embedding: bool = Field(
        False, description="train the embedding with block 0; else it keeps its random values"
    )
    head: Literal["shared", "frozen", "per_block"] = Field(
        "shared",
        description="output head: shared: one, trained with every block; frozen: one, trained with block 0 only; "
        "per_block: one for each block, started as a copy of the one before",
    )
    split: Literal["random_windows", "contiguous"] = Field(
        "random_windows", description="early stopping on random windows, or on the end of the training text"
    )
    later_init: Literal["random", "identity"] = Field(
        "random", description="later blocks start with random weights, or as the identity"
    )
    warmup_steps: Annotated[int, FieldUnit("steps")] = Field(
        0, ge=0, le=MOST, description="steps over which a block's learning rate rises to its full value"
    )
    decay: Literal["constant", "cosine"] = Field(
        "constant", description="learning rate after warm-up: constant, or a cosine that falls to 0 at max_epochs"
    )
    weight_decay: float = Field(0.01, ge=0, description="weight decay of AdamW, times the learning rate at each step")
    readout_target: Literal["text", "last"] = Field(
        "text",
        description="pretrained: what readouts are trained on: text: the next token; last: the last block's "
        "distribution (KL divergence)",
    )
    backbone: Literal["frozen", "all"] = Field(
        "frozen",
        description="pretrained: frozen: the model stays as it is; all: first all its weights are trained on, together "
        "with the exits, by LayerSkip's recipe",
    )
    layer_dropout: Annotated[float, FieldUnit("of windows")] = Field(
        0.1,
        ge=0,
        lt=1,
        description="backbone=all: share of a batch's windows that skip the last layer; it falls exponentially to 0 at "
        "the first layer",
    )
    dropout_schedule: Literal["constant", "rising"] = Field(
        "constant",
        description="backbone=all: layer dropout over the training: constant, or rising exponentially from 0",
    )
    exit_loss_scale: Annotated[float, FieldUnit("× their weight")] = Field(
        0.2, gt=0, le=100, description="backbone=all: factor on the exits' losses beside the last block's"
    )
    exit_curriculum: Literal["every", "rotational", "gradual"] = Field(
        "rotational",
        description="backbone=all: exits with a loss in a step: every one; every exit_rotation-th, taking turns; "
        "gradual: one more at a time, the deepest first, all from the middle of the training on",
    )
    exit_rotation: Annotated[int, FieldUnit("exits")] = Field(
        0,
        ge=0,
        le=MOST_BLOCKS,
        description="backbone=all, rotational: one in so many exits has a loss in a step; 0: one exit a step",
    )
    label_smoothing: Annotated[float, FieldUnit("of a target")] = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of each target that is spread over all tokens, so that unseen tokens cost less",
    )
    exits_from: Annotated[int, FieldUnit("epochs")] = Field(
        0,
        ge=0,
        le=MOST,
        description="first epoch of protocol joint in which the tokens that leave early are gone for the later blocks; "
        "0: none",
    )

    @model_validator(mode="after")
    def _frozen_has_no_recipe(self) -> Self:
        changed = [name for name in RECIPE_FIELDS if getattr(self, name) != type(self).model_fields[name].default]
        if changed and self.backbone == "frozen":
            raise ValueError(f"train.{changed[0]} is for train.backbone all: set that too, or leave it out")
        if self.backbone == "all" and self.readout_target != "text":
            raise ValueError(
                "train.readout_target must be text where train.backbone is all: the last block's distribution changes "
                "while it is trained"
            )
        return self


class ExitConfig(Section):
    """The exits: their classifiers, thresholds and hard tokens."""

    hard_ratio: Annotated[float, FieldUnit("of tokens")] = Field(
        0.5, description="share of tokens that go on to the next block: the threshold is this quantile of the signal"
    )
    policy: Literal["quantile", "price", "savings", "loss"] = Field(
        "quantile",
        description="thresholds: quantile: so that hard_ratio of the arriving tokens stay at each exit; price: so that "
        "a token stays where it is expected to save more loss than its further depth costs; savings, loss: at the "
        "price that reaches exit.savings or exit.loss_budget",
    )
    price: Annotated[float, FieldUnit("nats")] = Field(
        0.05, ge=0, description="price of the whole model's cost, for every exit alike (policy price)"
    )
    savings: Annotated[float, FieldUnit("of the cost")] = Field(
        0.4, gt=0, lt=1, description="share of the whole model's cost to save (policy savings)"
    )
    loss_budget: Annotated[float, FieldUnit("nats")] = Field(
        0.01, ge=0, description="loss that early exit may add to that of all blocks (policy loss)"
    )
    cost: Literal["layers", "flops"] = Field(
        "layers", description="what depth costs in a price: layers run, or FLOPs with the signals' own"
    )
    classifier: Literal["linear", "mlp"] = Field(
        "linear", description="exit classifier: linear, or with one hidden layer of 64"
    )
    exit_classifier_mode: Literal["post", "joint"] = Field(
        "post",
        description="post: fit the exit classifier after the block; joint: with it, adding its loss to the LM loss",
    )
    exit_epochs: Epochs = Field(10, description="epochs of the exit classifier (post)")
    last_exit: bool = Field(
        True, description="fit a classifier and set a threshold for the last block too, as in the report; both unused"
    )
    hard_tokens: Literal["repack", "mask"] = Field(
        "repack",
        description="hard tokens, which later blocks train on: repack: in new windows; mask: in their own windows, "
        "with the loss of the other tokens masked",
    )
    calibration: Literal["train", "heldout", "spread"] = Field(
        "train",
        description="fit classifiers and set thresholds on the training windows, or on held-out ones: at the end of "
        "the text, or in short stretches spread over it",
    )
    calibration_ratio: Annotated[float, FieldUnit("of windows")] = Field(
        0.1, gt=0, lt=1, description="share of the training windows held out for calibration (heldout, spread)"
    )
    exited_state: Literal["input", "copy", "linear", "drop", "deferred"] = Field(
        "input",
        description="exited tokens: input: run through later blocks with the state that entered their last block; "
        "copy: other tokens attend to their last state; linear: to what linear maps in place of the layers make of it "
        "(pretrained); drop: no token attends to them; deferred: run through later blocks once a token after them does",
    )
    classifier_fit: Literal["adam", "lbfgs"] = Field(
        "adam",
        description="optimizer of the exit classifier (post): exit_epochs of Adam, or L-BFGS on all tokens at once",
    )

    @field_validator("hard_ratio")
    @classmethod
    def _some_hard_some_easy(cls, value: float) -> float:
        if value <= 0:
            raise ValueError("must be > 0: with no hard tokens the next block has nothing to train on")
        if value >= 1:
            raise ValueError("must be < 1: if every token is hard no token exits early")
        return value


class MachineConfig(Section):
    """The device, threads and dtypes of a run; part of the config because the numbers depend on them."""

    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:N or mps")
    threads: Annotated[int, FieldUnit("threads")] = Field(
        0, ge=0, le=1024, description="CPU threads; 0: as many as are free when the run starts"
    )
    dtype: Literal["float32", "float64", "bfloat16", "float16"] = Field(
        "float32", description="dtype of weights and states; bfloat16 and float16: of a pretrained model's layers"
    )
    head_dtype: Literal["same", "bfloat16"] = Field(
        "same",
        description="dtype of the output head's matmuls in training: same: as dtype; bfloat16: faster on processors "
        "that support it, less exact; evaluation always uses dtype",
    )
