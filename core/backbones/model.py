"""A pretrained model with exits: its layers in blocks, a readout and an exit classifier for each block.

It offers the parts of `core.model.Transformer`, so that stages, evaluation and early exit work on either. The layers
have the config's dtype; readouts, classifiers and heads compute in float32. While the layers are trained
(`train.backbone=all`) their weights are float32.

Shapes: B windows, T tokens of a window, D model width, V vocabulary size.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from core.backbones.attention import use_packed_attention, within_window
from core.backbones.families._contract import Dimensions, Family
from core.backbones.layer_training import LayerTraining
from core.backbones.load import load_weights, read_dimensions
from core.backbones.readouts import Readout, new_readout, shared_norm
from core.backbones.shortcuts import Shortcuts
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
        mode: how the model's layers run.
        shortcuts: what stands in for layers that exited tokens skip.
    """

    def __init__(
        self,
        family: Family,
        body: Any,
        numbers: range,
        windows: Sequence[int | None],
        mode: LayerTraining,
        shortcuts: Shortcuts | None,
    ) -> None:
        super().__init__()
        self.family, self.numbers, self.windows, self.mode = family, numbers, windows, mode
        self._model = (body, shortcuts)  # a tuple, so that the block does not own the modules

    @property
    def body(self) -> Any:
        """Transformers' module of all layers."""
        return self._model[0]

    @property
    def layers(self) -> list[nn.Module]:
        """The block's layers, transformers' own modules."""
        return list(self.family.layers(self.body))[self.numbers.start : self.numbers.stop]

    def layer_inputs(self, states: Tensor, positions: Tensor) -> list[dict[str, Any]]:
        """Return the keyword arguments of each of the block's layers (`Family.layer_inputs`)."""
        return self.family.layer_inputs(self.body, states, positions)[self.numbers.start : self.numbers.stop]

    def instead(self, number: int, states: Tensor, positions: Tensor) -> Tensor:
        """Return what later tokens attend to of exited ones after a layer of the block (`Shortcuts.instead`).

        Without shortcuts it is the state that they left with.
        """
        shortcuts = self._model[1]
        return states if shortcuts is None else shortcuts.instead(number, states, positions)

    def forward(self, x: Tensor, active: Tensor | None = None, exited_state: ExitedState = "input") -> Tensor:
        """Run states through the block, `[B, T, D]` to `[B, T, D]`; position 0 is the window's first token.

        As in `core.model.Block`: plain and masked; exited tokens keep their state (`copy`), are mapped (`linear`) or
        run (`deferred`).
        """
        assert exited_state != "drop", "the config refuses it"
        positions = torch.arange(x.shape[1], device=x.device)[None]  # [1, T]
        with self.mode.running(x.device):
            inputs = self.layer_inputs(x, positions)
            for number, layer, own, window in zip(self.numbers, self.layers, inputs, self.windows, strict=True):
                output = self.mode.run(number, x, partial(self._layer, layer, own, window))
                stays = None if active is None or exited_state in RUNS_THROUGH else active[..., None]
                x = output if stays is None else torch.where(stays, output, self.instead(number, x, positions))
        return x

    def run_alone(self, number: int, x: Tensor) -> Tensor:
        """Run states through one layer of the block, `[B, T, D]` to `[B, T, D]`."""
        positions, index = torch.arange(x.shape[1], device=x.device)[None], number - self.numbers.start
        return self._layer(self.layers[index], self.layer_inputs(x, positions)[index], self.windows[index], x)

    def _layer(self, layer: nn.Module, inputs: dict[str, Any], window: int | None, x: Tensor) -> Tensor:
        return self.family.run_layer(layer, x, inputs, self._seen(x, window))

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
        causal_lm: transformers' model with its head, frozen; to be trained, in float32.
        config: with the model's own dimensions, and blocks that add up to its layers.
        classifier_outputs, classifier_width: as in `Transformer`.
        dtype: that of the layers once they are used.
        to_train: whether all weights are to be trained first.
        shortcuts: whether linear maps stand in for the layers that exited tokens skip (`exited_state=linear`).
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
        dtype: torch.dtype = torch.float32,
        to_train: bool = False,
        shortcuts: bool = False,
    ) -> None:
        nn.Module.__init__(self)  # none of our own transformer's parts
        self.dtype, self.mode, self._digest = dtype, LayerTraining(to_train, dtype), ""
        self.family, self.dimensions = family, dimensions
        self.body = family.body(causal_lm)
        use_packed_attention(self.body)
        self.shortcuts = Shortcuts(config.block_layers, config.dim) if shortcuts else None
        self.blocks = nn.ModuleList(
            PretrainedBlock(
                family,
                self.body,
                numbers,
                dimensions.windows[numbers.start : numbers.stop],
                self.mode,
                self.shortcuts,
            )
            for numbers in cut(config.block_layers)
        )
        blocks, norm = len(self.blocks), shared_norm(family.final_norm(self.body))
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
        for classifier in self.classifiers:
            nn.init.zeros_(cast(ExitClassifier, classifier).linear.weight)
        if to_train:
            for trained in self.learning_weights():
                trained.requires_grad_(True)

    @property
    def embedding(self) -> nn.Embedding:  # type: ignore[override]  # an attribute there
        """The model's embedding."""
        return cast(nn.Embedding, self.body.get_input_embeddings())

    def embed(self, token_ids: Tensor) -> Tensor:
        positions = torch.arange(token_ids.shape[1], device=token_ids.device)[None]  # [1, T]
        with self.mode.running(token_ids.device):
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

    def learning_weights(self) -> list[nn.Parameter]:
        """Return the weights that are trained with the backbone: all but the classifiers and the shortcuts.

        The norm before the head is that of the readouts, in float32; the body's own is never used.
        """
        unused = {id(weight) for weight in self.family.final_norm(self.body).parameters()}
        unused |= {id(weight) for weight in self.classifiers.parameters()}
        shortcuts = self.shortcuts.parameters() if self.shortcuts is not None else ()
        unused |= {id(weight) for weight in shortcuts}
        return [weight for weight in self.parameters() if id(weight) not in unused]

    def end_training(self) -> None:
        """Freeze all weights, and give the layers the dtype in which they are used."""
        if not self.mode.learns:
            return
        self.mode.learns = False
        self.zero_grad(set_to_none=True)
        self.requires_grad_(False)
        self.classifiers.requires_grad_(True)
        self._digest = self._hash_of_body()
        if self.dtype != torch.float32:
            self.head.weight = nn.Parameter(self.head.weight.detach().clone(), requires_grad=False)  # may be tied
            for weight in self.body.parameters():
                weight.data = weight.data.to(self.dtype)

    @property
    def trained_digest(self) -> str:
        """SHA-256, in hex, of the weights of the layers that were trained in this process; empty if none were."""
        return self._digest

    def _hash_of_body(self) -> str:
        found = hashlib.sha256()
        for weight in self.body.parameters():
            found.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return found.hexdigest()

    @contextmanager
    def dropping(self, generator: torch.Generator, rows: tuple[int, slice] | None = None) -> Iterator[None]:
        """A pretrained model has no dropout of ours, but for that of whole layers."""
        yield

    @contextmanager
    def dropping_layers(
        self, rates: Sequence[float], generator: torch.Generator, rows: tuple[int, slice] | None = None
    ) -> Iterator[None]:
        """Context in which windows skip layers, each layer with a probability of its own.

        Args:
            rates: probabilities, one a layer.
            rows: as in `Transformer.dropping`.
        """
        with self.mode.dropping(rates, generator, rows):
            yield


def cut(block_layers: Sequence[int]) -> list[range]:
    """Return the numbers of each block's layers."""
    ends = [sum(block_layers[: block + 1]) for block in range(len(block_layers))]
    return [range(end - layers, end) for layers, end in zip(block_layers, ends, strict=True)]


def load_pretrained(config: RunConfig, *, to_train: bool = False) -> PretrainedModel:
    """Load the pretrained model of a resolved config, with untrained readouts and classifiers, on the CPU.

    Args:
        to_train: whether all its weights are to be trained; then they are float32, whatever `machine.dtype` says.

    Raises:
        ConfigError: it can't be loaded, or has changed.
    """
    (model,) = load_cuts([config], to_train=to_train)
    return model


def load_cuts(configs: Sequence[RunConfig], *, to_train: bool = False) -> list[PretrainedModel]:
    """Load one pretrained model for several resolved configs that cut and read it differently: they share its weights.

    Arguments and errors as for `load_pretrained`.
    """
    place, dtype = find(configs[0].model.source), configs[0].machine.dtype
    family, dimensions = read_dimensions(place)
    weights = load_weights(place, dimensions, "float32" if to_train else dtype)
    models = [
        PretrainedModel(
            weights,
            family,
            dimensions,
            config.model,
            classifier_outputs=classifier_outputs(config),
            classifier_width=classifier_width(config),
            dtype=getattr(torch, dtype),
            to_train=to_train,
            shortcuts=config.exit.exited_state == "linear",
        )
        for config in configs
    ]
    for model in models[1:]:
        model.head = models[0].head
    return models


def resolved(config: RunConfig) -> RunConfig:
    """Pin a config's pretrained model to its content, and fill in its dimensions and its blocks.

    Raises:
        ConfigError: the model is not there or not supported, the blocks do not add up, the windows are too long, or a
            dimension was given that it does not have.
    """
    source = pinned(config.model.source)
    _, found = read_dimensions(find(source))
    if config.data.seq_len > found.max_seq_len:
        raise ConfigError(
            f"data.seq_len must be at most {found.max_seq_len}, the context of {config.model.source}, got "
            f"{config.data.seq_len}"
        )
    blocks = _blocks(config.model, found.layers)
    if len(blocks) < 2:
        raise ConfigError(
            f"model.block_layers {','.join(map(str, blocks))} makes one block of the {found.layers} layers of "
            f"{config.model.source}, and an exit needs a block behind it: cut them into two or more"
        )
    own = {
        "source": source,
        "block_layers": blocks,
        "tie_embedding": found.tied,
        "norm": "pre",
        "causal": True,
        **{name: getattr(found, name) for name in ModelConfig.model_fields if hasattr(found, name)},
    }
    for name in sorted(config.model.model_fields_set & own.keys() - {"source", "block_layers"}):
        if (given := getattr(config.model, name)) != own[name]:
            raise ConfigError(
                f"model.{name} must be left out or {own[name]}, as {config.model.source} has it, got {given}"
            )
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
