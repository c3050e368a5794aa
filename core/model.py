"""The transformer: embedding, blocks of layers, one exit classifier per block, one output head or one per block.

As in the seed report: rotary positions, SwiGLU feed-forward, RMSNorm, no bias except in the exit classifiers. The
report normalises after each residual sum (post-norm) and has no dropout. Under pre-norm each branch normalises its
input, the residual stream is left alone, and every block has a norm of its own, its `readout`, before head and exit
classifier.

Shapes: B windows, T tokens of a window, D model width, H heads, V vocabulary size.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.config.derived import classifier_outputs, classifier_width
from core.config.run_config import ModelConfig, RunConfig
from core.rng import stream

ExitedState = Literal["input", "copy", "linear", "drop", "deferred"]
"""What an exited token leaves for later blocks to attend to (`exit.exited_state`)."""
RUNS_THROUGH: frozenset[ExitedState] = frozenset({"input", "deferred"})
"""Those under which exited tokens run through later blocks; `deferred` where a token that goes deeper follows."""

ROTARY_BASE = 10_000.0
EMBEDDING_STD = 0.02


def rotary_tables(head_dim: int, length: int) -> tuple[Tensor, Tensor]:
    """Compute cosines and sines of all positions, `[length, head_dim]` each (RoFormer, Su et al. 2021, eq. 15)."""
    frequencies = ROTARY_BASE ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.outer(torch.arange(length, dtype=torch.float64), frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs (i, i + head_dim/2) of `x [B, H, T, head_dim]` by their position's angles."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-high, low), dim=-1) * sin


class Dropout(nn.Module):
    """Dropout that is active only while a trainer lends it a random generator.

    Masks are drawn on the CPU and moved, so that a seed means the same on every device.

    Attributes:
        rows: the size of the whole batch and which of its rows are given, where it is shared among processes.
    """

    generator: torch.Generator | None = None
    rows: tuple[int, slice] | None = None

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if self.generator is None or self.rate == 0:
            return x
        total, own = self.rows or (len(x), slice(None))
        kept = torch.empty(total, *x.shape[1:], dtype=x.dtype).bernoulli_(1 - self.rate, generator=self.generator)[own]
        return x * kept.div_(1 - self.rate).to(x.device)


class Attention(nn.Module):
    """Multi-head self-attention with rotary positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads, self.causal = config.num_heads, config.causal
        self.query = nn.Linear(config.dim, config.dim, bias=False)
        self.key = nn.Linear(config.dim, config.dim, bias=False)
        self.value = nn.Linear(config.dim, config.dim, bias=False)
        self.output = nn.Linear(config.dim, config.dim, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, seen: Tensor | None = None) -> Tensor:
        """Attend, `[B, T, D]` to `[B, T, D]`.

        Args:
            cos, sin: rotations of the T positions, `[T, D/H]`.
            seen: mask of the tokens (columns) that each token (row) attends to, bool `[B, 1, T, T]`; None: as
                configured.
        """
        query, key, value = (
            projection(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # [B, H, T, D/H]
            for projection in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(
            rotate(query, cos, sin),
            rotate(key, cos, sin),
            value,
            attn_mask=seen,
            is_causal=self.causal and seen is None,
        )
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(-2))
        return output


class FeedForward(nn.Module):
    """SwiGLU: `w2(silu(w1 x) * w3 x)` (Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.dim, config.ffn_dim, bias=False)
        self.w2 = nn.Linear(config.ffn_dim, config.dim, bias=False)
        self.w3 = nn.Linear(config.dim, config.ffn_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.w2(F.silu(self.w1(x)) * self.w3(x))
        return output


class Layer(nn.Module):
    """Attention and feed-forward, each a residual branch with a norm after its sum (post) or before it (pre)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.pre_norm = config.norm == "pre"
        self.attention = Attention(config)
        self.attention_norm = nn.RMSNorm(config.dim, eps=config.eps)
        self.ffn = FeedForward(config)
        self.ffn_norm = nn.RMSNorm(config.dim, eps=config.eps)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, seen: Tensor | None = None) -> Tensor:
        if self.pre_norm:
            x = x + self.dropout(self.attention(self.attention_norm(x), cos, sin, seen))
            x = x + self.dropout(self.ffn(self.ffn_norm(x)))
        else:
            x = self.attention_norm(x + self.dropout(self.attention(x, cos, sin, seen)))
            x = self.ffn_norm(x + self.dropout(self.ffn(x)))
        return x


class Block(nn.Module):
    """A stack of layers that ends in an exit.

    Head and exit classifier read the output states through `readout`; the next block reads the states themselves.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig, layers: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.causal = config.causal
        self.layers = nn.ModuleList(Layer(config) for _ in range(layers))
        self.readout = nn.RMSNorm(config.dim, eps=config.eps) if config.norm == "pre" else nn.Identity()
        cos, sin = rotary_tables(config.dim // config.num_heads, config.max_seq_len)
        self.register_buffer("cos", cos.to(dtype), persistent=False)
        self.register_buffer("sin", sin.to(dtype), persistent=False)

    def forward(self, x: Tensor, active: Tensor | None = None, exited_state: ExitedState = "input") -> Tensor:
        """Run states through the block, `[B, T, D]` to `[B, T, D]`; position 0 is the window's first token.

        Plain and masked: everything is computed for all tokens and discarded for exited ones.

        Args:
            active: mask of the active tokens, bool `[B, T]`; None: all.
            exited_state: treatment of the others. copy: they keep their state through every layer and are attended to
                through keys and values made of it; drop: they keep it, and only they attend to themselves; input,
                deferred: they run through like all others.
        """
        assert exited_state != "linear", "the config refuses it"
        cos, sin = self.cos[: x.shape[-2]], self.sin[: x.shape[-2]]
        if active is None or exited_state in RUNS_THROUGH:
            for layer in self.layers:
                x = layer(x, cos, sin)
            return x
        seen = self._seen(active) if exited_state == "drop" else None
        for layer in self.layers:
            x = torch.where(active[..., None], layer(x, cos, sin, seen), x)
        return x

    def _seen(self, active: Tensor) -> Tensor:
        """Attention mask under `drop`, `[B, 1, T, T]`; exited tokens attend to themselves, as no row may be empty."""
        itself = torch.eye(active.shape[-1], dtype=torch.bool, device=active.device)
        seen = active[:, None, None, :] | itself
        return seen.tril() if self.causal else seen


class ExitClassifier(nn.Module):
    """`Linear(D, outputs)` on a block's readout, or with a hidden layer before it: predicts an exit signal.

    Args:
        outputs: number of predictions.
        width: width of the hidden layer; 0: none.
    """

    def __init__(self, dim: int, outputs: int = 1, width: int = 0) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(dim, width), nn.SiLU()) if width else nn.Identity()
        self.linear = nn.Linear(width or dim, outputs)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the logit of the signal, `[N, D]` to `[N]`."""
        return self.outputs(hidden)[:, 0]

    def outputs(self, hidden: Tensor) -> Tensor:
        """Return all predictions, `[N, D]` to `[N, outputs]`."""
        predictions: Tensor = self.linear(self.hidden(hidden))
        return predictions


class Transformer(nn.Module):
    """All parts of a run's model. The protocol calls the parts; there is no single forward pass.

    Args:
        train_embedding: whether the embedding is ever trained.
        later_heads: whether each block has a head of its own; all start alike.
        later_identity: whether later blocks start as the identity: the output projections of their residual branches
            are zero (Zhang et al. 2019, "Fixup", section 3).
        classifier_outputs: number of outputs of each block's exit classifier; empty: one each.
        classifier_width: width of their hidden layer; 0: none.
    """

    def __init__(
        self,
        config: ModelConfig,
        vocab_size: int,
        seed: int,
        dtype: torch.dtype = torch.float32,
        *,
        train_embedding: bool = False,
        later_heads: bool = False,
        later_identity: bool = False,
        classifier_outputs: tuple[int, ...] = (),
        classifier_width: int = 0,
    ) -> None:
        super().__init__()
        blocks = len(config.block_layers)
        self.embedding = nn.Embedding(vocab_size, config.dim).requires_grad_(train_embedding)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, layers, dtype) for layers in config.block_layers)
        self.classifiers = nn.ModuleList(
            ExitClassifier(config.dim, outputs, classifier_width) for outputs in classifier_outputs or (1,) * blocks
        )
        self.head = nn.Linear(config.dim, vocab_size, bias=False)
        self.later_heads = nn.ModuleList(
            nn.Linear(config.dim, vocab_size, bias=False) for _ in range(blocks - 1 if later_heads else 0)
        )
        self._initialise(seed, later_identity)  # drawn in float32, so that every dtype starts from the same weights
        if config.tie_embedding:
            self.head.weight = self.embedding.weight
        for block in range(1, len(self.later_heads) + 1):
            self.begin_head(block)
        self.to(dtype)

    def embed(self, token_ids: Tensor) -> Tensor:
        """Embed token ids `[B, T]`: the states that block 0 reads, `[B, T, D]`."""
        states: Tensor = self.dropout(self.embedding(token_ids))
        return states

    def embed_at(self, token_ids: Tensor, positions: Tensor) -> Tensor:
        """Embed token ids `[n]` at positions `[n]`; in our own models rotary positions come in with attention."""
        return self.embed(token_ids)

    def readout(self, block: int, states: Tensor) -> Tensor:
        """Return what head and exit classifier read of a block's output states, `[…, D]` to `[…, D]`."""
        hidden: Tensor = cast(Block, self.blocks[block]).readout(states)
        return hidden

    def classifier(self, block: int) -> ExitClassifier:
        """Return the exit classifier of a block."""
        return cast(ExitClassifier, self.classifiers[block])

    def classifier_weights(self, block: int) -> dict[str, Tensor]:
        """Return copies of the weights of a block's exit classifier, by their names in the model."""
        named = self.classifier(block).named_parameters(prefix=f"classifiers.{block}")
        return {name: weight.detach().clone() for name, weight in named}

    def head_weight(self, block: int) -> Tensor:
        """Return the head that predicts from a block's readout, `[V, D]`."""
        head = self.later_heads[block - 1] if block and self.later_heads else self.head
        return cast(nn.Linear, head).weight

    @torch.no_grad()
    def begin_head(self, block: int) -> None:
        """Start a later block's own head, if it has one, as a copy of the one before it."""
        if block and self.later_heads:
            self.head_weight(block).copy_(self.head_weight(block - 1))

    def begin_readout(self, block: int) -> None:
        """Start a later block's readout as a copy of the one before it."""
        before, own = (cast(Block, self.blocks[index]).readout for index in (block - 1, block))
        own.load_state_dict(before.state_dict())

    def end_training(self) -> None:
        """Get ready for use once all blocks are trained together; a model of our own is."""

    @contextmanager
    def dropping(self, generator: torch.Generator, rows: tuple[int, slice] | None = None) -> Iterator[None]:
        """Context in which dropout is active, drawn from that generator.

        Args:
            rows: the size of a batch and which of its rows are run; masks are drawn for all of it. None: all.
        """
        dropouts = [module for module in self.modules() if isinstance(module, Dropout)]
        for dropout in dropouts:
            dropout.generator, dropout.rows = generator, rows
        try:
            yield
        finally:
            for dropout in dropouts:
                dropout.generator = dropout.rows = None

    @torch.no_grad()
    def _initialise(self, seed: int, later_identity: bool) -> None:
        """Draw each part's weights from its own random stream, so that no part depends on the number of others."""
        nn.init.trunc_normal_(
            self.embedding.weight, std=EMBEDDING_STD, generator=stream(seed, "initialise", "embedding")
        )
        nn.init.trunc_normal_(
            self.head.weight, std=self.head.in_features**-0.5, generator=stream(seed, "initialise", "head")
        )
        for name, parts in (("block", self.blocks), ("classifier", self.classifiers)):
            for index, part in enumerate(parts):
                generator = stream(seed, "initialise", name, index)
                for linear in (module for module in part.modules() if isinstance(module, nn.Linear)):
                    _initialise_linear(linear, generator)
        if later_identity:
            for layer in (module for block in self.blocks[1:] for module in block.modules()):
                if isinstance(layer, Layer):
                    layer.attention.output.weight.zero_()
                    layer.ffn.w2.weight.zero_()


def new_model(config: RunConfig, vocab_size: int) -> Transformer:
    """Build the untrained model of a run, on the CPU."""
    return Transformer(
        config.model,
        vocab_size,
        config.seed,
        getattr(torch, config.machine.dtype),
        train_embedding=config.train.train_embedding,
        later_heads=config.train.head == "per_block",
        later_identity=config.train.later_init == "identity",
        classifier_outputs=classifier_outputs(config),
        classifier_width=classifier_width(config),
    )


def _initialise_linear(linear: nn.Linear, generator: torch.Generator) -> None:
    """Initialise as torch does by default, uniform within ±1/√in_features, from our own generator."""
    bound = 1 / math.sqrt(linear.in_features)
    linear.weight.uniform_(-bound, bound, generator=generator)
    if linear.bias is not None:
        linear.bias.uniform_(-bound, bound, generator=generator)


def carried(output: Tensor, entered: Tensor, staying: Tensor | None, exited_state: ExitedState) -> Tensor:
    """Return the states with which tokens enter the next block, `[B, T, D]`.

    They are the block's output, except under the report's rule (`input`): an exited token enters the next block as it
    entered the block it left.

    Args:
        staying: mask of the active tokens, bool `[B, T]`; None: all.
    """
    if staying is None or exited_state != "input":
        return output
    return torch.where(staying[..., None], output, entered)
