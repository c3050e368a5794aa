"""A pretrained model with exits: its layers in blocks, a readout and an exit classifier for each block.

It offers the parts of `core.model.Transformer`, so that stages, evaluation and early exit work on either. The layers
have the config's dtype and are never trained; readouts, classifiers and heads compute in float32.

Shapes: B windows, T tokens of a window, D model width, V vocabulary size.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from core.backbones.attention import use_packed_attention, within_window
from core.backbones.families._contract import Dimensions, Family
from core.backbones.load import load_weights, read_dimensions
from core.backbones.readouts import Readout, new_readout
from core.config.derived import classifier_outputs, classifier_width
from core.config.run_config import ModelConfig, RunConfig
from core.errors import ConfigError
from core.model import RUNS_THROUGH, ExitClassifier, ExitedState, Transformer
from core.pretrained.place import find, pinned

DEFAULT_BLOCKS = 5


class PretrainedBlock(nn.Module):
    """Consecutive layers of a pretrained model that end in an exit.

    Args:
        numbers: numbers of its layers in the model.
    """

    def __init__(self, family: Family, body: Any, numbers: range, windows: Sequence[int | None]) -> None:
        super().__init__()
        self.family, self.numbers, self.windows = family, numbers, windows
        self._body = (body,)  # a tuple, so that the block does not own the modules

    @property
    def body(self) -> Any:
        """Transformers' module of all layers."""
        return self._body[0]

    @property
    def layers(self) -> list[nn.Module]:
        """The block's layers, transformers' own modules."""
        return list(self.family.layers(self.body))[self.numbers.start : self.numbers.stop]

    def layer_inputs(self, states: Tensor, positions: Tensor) -> list[dict[str, Any]]:
        """Return the keyword arguments of each of the block's layers (`Family.layer_inputs`)."""
        return self.family.layer_inputs(self.body, states, positions)[self.numbers.start : self.numbers.stop]

    @torch.no_grad()
    def forward(self, x: Tensor, active: Tensor | None = None, exited_state: ExitedState = "input") -> Tensor:
        """Run states through the block, `[B, T, D]` to `[B, T, D]`; position 0 is the window's first token.

        As in `core.model.Block`: plain and masked; exited tokens keep their state (`copy`) or run (`deferred`).
        """
        assert exited_state != "drop", "the config refuses it"
        positions = torch.arange(x.shape[1], device=x.device)[None]  # [1, T]
        for layer, inputs, window in zip(self.layers, self.layer_inputs(x, positions), self.windows, strict=True):
            output = self.family.run_layer(layer, x, inputs, self._seen(x, window))
            x = output if active is None or exited_state in RUNS_THROUGH else torch.where(active[..., None], output, x)
        return x

    @staticmethod
    def _seen(x: Tensor, window: int | None) -> Tensor | None:
        """Return the mask of a layer that sees `window` tokens, bool `[B, 1, T, T]`; None where it sees all before."""
        if window is None or window >= x.shape[1]:
            return None
        return within_window(torch.arange(x.shape[1], device=x.device)[None], x.shape[1], window).expand(
            len(x), -1, -1, -1
        )


class PretrainedModel(Transformer):
    """A pretrained model with exits.

    Args:
        causal_lm: transformers' model with its head, frozen.
        config: with the model's own dimensions, and blocks that add up to its layers.
        classifier_outputs, classifier_width: as in `Transformer`.
    """

    def __init__(
        self,
        causal_lm: Any,
        family: Family,
        dimensions: Dimensions,
        config: ModelConfig,
        *,
        classifier_outputs: Sequence[int] = (),
        classifier_width: int = 0,
    ) -> None:
        nn.Module.__init__(self)  # none of our own transformer's parts
        self.family, self.dimensions, self.reads = family, dimensions, config.readout
        self.body = family.body(causal_lm)
        use_packed_attention(self.body)
        self.blocks = nn.ModuleList(
            PretrainedBlock(family, self.body, numbers, dimensions.windows[numbers.start : numbers.stop])
            for numbers in cut(config.block_layers)
        )
        blocks, norm = len(self.blocks), family.final_norm(self.body)
        kinds = [config.readout] * (blocks - 1) + [config.readout if config.last_readout else "final"]
        self.readouts = nn.ModuleList(new_readout(kind, norm, config.dim) for kind in kinds)
        self.classifiers = nn.ModuleList(
            ExitClassifier(config.dim, outputs, classifier_width) for outputs in classifier_outputs or (1,) * blocks
        )
        self.head = nn.Linear(config.dim, dimensions.vocab_size, bias=False, device="meta")
        weight = causal_lm.get_output_embeddings().weight
        exact = weight.dtype == torch.float32  # then it is shared, as a tied embedding is
        self.head.weight = weight if exact else nn.Parameter(weight.float(), requires_grad=False)
        self.heads = nn.ModuleDict()  # heads of their own, by block
        for block in (block for block, kind in enumerate(kinds) if kind == "head"):
            own = nn.Linear(config.dim, dimensions.vocab_size, bias=False, device="meta")
            own.weight = nn.Parameter(self.head.weight.detach().clone())
            self.heads[str(block)] = own
        self.own_readout = [kind != "final" for kind in kinds]
        for classifier in self.classifiers:
            nn.init.zeros_(cast(ExitClassifier, classifier).linear.weight)

    @property
    def embedding(self) -> nn.Embedding:  # type: ignore[override]  # an attribute there
        """The model's embedding."""
        return cast(nn.Embedding, self.body.get_input_embeddings())

    @torch.no_grad()
    def embed(self, token_ids: Tensor) -> Tensor:
        positions = torch.arange(token_ids.shape[1], device=token_ids.device)[None]  # [1, T]
        return self.family.embed(self.body, token_ids, positions)

    @torch.no_grad()
    def embed_at(self, token_ids: Tensor, positions: Tensor) -> Tensor:
        return self.family.embed(self.body, token_ids[None], positions[None])[0]

    def readout(self, block: int, states: Tensor) -> Tensor:
        hidden: Tensor = cast(Readout, self.readouts[block])(states)
        return hidden

    def head_weight(self, block: int) -> Tensor:
        own = cast(nn.Linear, self.heads[str(block)]) if str(block) in self.heads else self.head
        return own.weight

    def readout_weights(self, block: int) -> dict[str, nn.Parameter]:
        """Return the weights of a block's readout that are trained, by their names in the model."""
        names = (f"readouts.{block}.", f"heads.{block}.")
        return {
            name: weight for name, weight in self.named_parameters() if name.startswith(names) and weight.requires_grad
        }

    @contextmanager
    def dropping(self, generator: torch.Generator, rows: tuple[int, slice] | None = None) -> Iterator[None]:
        """A pretrained model has no dropout of ours."""
        yield


def cut(block_layers: Sequence[int]) -> list[range]:
    """Return the numbers of each block's layers."""
    ends = [sum(block_layers[: block + 1]) for block in range(len(block_layers))]
    return [range(end - layers, end) for layers, end in zip(block_layers, ends, strict=True)]


def load_pretrained(config: RunConfig) -> PretrainedModel:
    """Load the pretrained model of a resolved config, with untrained readouts and classifiers, on the CPU.

    Raises:
        ConfigError: it can't be loaded, or has changed.
    """
    place = find(config.model.source)
    family, dimensions = read_dimensions(place)
    weights = load_weights(place, dimensions, config.machine.dtype)
    return PretrainedModel(
        weights,
        family,
        dimensions,
        config.model,
        classifier_outputs=classifier_outputs(config),
        classifier_width=classifier_width(config),
    )


def resolved(config: RunConfig) -> RunConfig:
    """Pin a config's pretrained model to its content, and fill in its dimensions and its blocks.

    Raises:
        ConfigError: the model is not there or not supported, the blocks do not add up, or the windows are too long.
    """
    source = pinned(config.model.source)
    _, found = read_dimensions(find(source))
    if config.data.seq_len > found.max_seq_len:
        raise ConfigError(
            f"data.seq_len must be at most {found.max_seq_len}, the context of {config.model.source}, got "
            f"{config.data.seq_len}"
        )
    own = {
        "source": source,
        "block_layers": _blocks(config.model, found.layers),
        "tie_embedding": found.tied,
        "norm": "pre",
        "causal": True,
        **{name: getattr(found, name) for name in ModelConfig.model_fields if hasattr(found, name)},
    }
    return replace_model(config, own)


def replace_model(config: RunConfig, values: dict[str, Any]) -> RunConfig:
    """Return a config with other values in its model section, unchecked."""
    return config.model_copy(update={"model": config.model.model_copy(update=values)})


def _blocks(config: ModelConfig, layers: int) -> tuple[int, ...]:
    """Return the layers of each block: as asked for, else evenly in five.

    Raises:
        ConfigError: they do not add up to the model's layers.
    """
    if config.every:
        whole, rest = divmod(layers, config.every)
        return (config.every,) * whole + ((rest,) if rest else ())
    if "block_layers" in config.model_fields_set:
        if sum(config.block_layers) != layers:
            cuts = ",".join(map(str, config.block_layers))
            raise ConfigError(
                f"model.block_layers {cuts} adds up to {sum(config.block_layers)} layers, and {config.source} has "
                f"{layers}: change it, or leave it out for {DEFAULT_BLOCKS} even blocks"
            )
        return config.block_layers
    blocks = min(DEFAULT_BLOCKS, layers)
    ends = [layers * block // blocks for block in range(blocks + 1)]
    return tuple(after - before for before, after in pairwise(ends))
