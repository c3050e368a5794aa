"""The transformer: embedding, blocks of layers, one exit classifier a block, one output head.

Dimensions are those of the seed report: rotary positions, SwiGLU feed-forward, RMSNorm after each residual sum
(post-norm), no bias anywhere but in the exit classifiers, no final norm, no dropout.

Shapes: B windows, T tokens of a window, D model width, H heads, V vocabulary size.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.config import ModelConfig
from core.rng import stream

ROTARY_BASE = 10_000.0
EMBEDDING_STD = 0.02


def rotary_tables(head_dim: int, length: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of each position's angles, both `[length, head_dim]` (RoFormer, Su et al. 2021, eq. 15)."""
    frequencies = ROTARY_BASE ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.outer(torch.arange(length, dtype=torch.float64), frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (i, i + head_dim/2) of `x [B, H, T, head_dim]` by their position's angles."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-high, low), dim=-1) * sin


class Attention(nn.Module):
    """Multi-head self-attention with rotary positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads, self.causal = config.num_heads, config.causal
        self.query = nn.Linear(config.dim, config.dim, bias=False)
        self.key = nn.Linear(config.dim, config.dim, bias=False)
        self.value = nn.Linear(config.dim, config.dim, bias=False)
        self.output = nn.Linear(config.dim, config.dim, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        query, key, value = (
            projection(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # [B, H, T, D/H]
            for projection in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(
            rotate(query, cos, sin), rotate(key, cos, sin), value, is_causal=self.causal
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
    """Attention and feed-forward, each followed by its residual sum and norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.attention_norm = nn.RMSNorm(config.dim, eps=config.eps)
        self.ffn = FeedForward(config)
        self.ffn_norm = nn.RMSNorm(config.dim, eps=config.eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = self.attention_norm(x + self.attention(x, cos, sin))
        x = self.ffn_norm(x + self.ffn(x))
        return x


class Block(nn.Module):
    """A stack of layers that ends in an exit."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig, layers: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(layers))
        cos, sin = rotary_tables(config.dim // config.num_heads, config.max_seq_len)
        self.register_buffer("cos", cos.to(dtype), persistent=False)
        self.register_buffer("sin", sin.to(dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """States `[B, T, D]` to states `[B, T, D]`; position 0 is the window's first token."""
        cos, sin = self.cos[: x.shape[-2]], self.sin[: x.shape[-2]]
        for layer in self.layers:
            x = layer(x, cos, sin)
        return x


class ExitClassifier(nn.Module):
    """`Linear(D, 1)`: predicts an exit signal from a block's output state."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """Logit of the signal, `[N, D]` to `[N]`."""
        logit: Tensor = self.linear(hidden).squeeze(-1)
        return logit


class Transformer(nn.Module):
    """All parts of a run's model. The protocol calls the parts; there is no one forward pass.

    The embedding is drawn once and never trained. The head is shared by all blocks.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, seed: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, config.dim).requires_grad_(False)
        self.blocks = nn.ModuleList(Block(config, layers, dtype) for layers in config.block_layers)
        self.classifiers = nn.ModuleList(ExitClassifier(config.dim) for _ in config.block_layers)
        self.head = nn.Linear(config.dim, vocab_size, bias=False)
        self._initialise(seed)  # drawn in float32, so that every dtype starts from the same weights
        self.to(dtype)

    def classifier(self, block: int) -> ExitClassifier:
        """The exit classifier of a block."""
        return cast(ExitClassifier, self.classifiers[block])

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        """Draw every weight from a stream of its own part, so that parts do not depend on one another's number."""
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


def _initialise_linear(linear: nn.Linear, generator: torch.Generator) -> None:
    """torch's default for `nn.Linear`, uniform within ±1/√in_features, from our own generator."""
    bound = 1 / math.sqrt(linear.in_features)
    linear.weight.uniform_(-bound, bound, generator=generator)
    if linear.bias is not None:
        linear.bias.uniform_(-bound, bound, generator=generator)
