"""Speed of this machine on a pretrained model, without loading it: its matrix products, with random weights.

Shapes: n tokens, D model width, V vocabulary size.
"""

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from core import costs
from core.config.run_config import ModelConfig, RunConfig
from core.data.batches import reading_windows
from core.head.loss import token_statistics

MOST_ENTRIES = 16_384
"""Largest part of the vocabulary that the head is timed with; its time grows in proportion."""
HEAD_TOKENS = 1024
"""Largest number of tokens that the head is timed with."""


@torch.no_grad()
def time_frozen(config: RunConfig, vocab_size: int, device: torch.device) -> tuple[float, float]:
    """Time one layer and the head of a pretrained model, of a resolved config; return seconds per token of each."""
    model, width = config.model, config.data.seq_len
    windows = max(config.train.batch_size, reading_windows(config))
    states = torch.randn(windows, width, model.dim, device=device)  # [B, T, D]
    layer = _seconds(_layer(model, states.to(getattr(torch, config.machine.dtype)))) / (windows * width)
    entries, hidden = min(vocab_size, MOST_ENTRIES), states.flatten(0, 1)[:HEAD_TOKENS]  # [n, D]
    weight = torch.randn(entries, model.dim, device=device)
    targets = torch.zeros(len(hidden), dtype=torch.int64, device=device)
    head = _seconds(lambda: token_statistics(hidden, weight, targets).max_prob) / len(hidden) * vocab_size / entries
    return layer, head


def _layer(model: ModelConfig, states: Tensor) -> Callable[[], Tensor]:
    """Return a function that computes what a layer does with states `[B, T, D]`, its norms aside."""
    width, keys = costs.attention_width(model), costs.key_width(model)
    head = model.head_dim or model.dim // model.num_heads
    inner = model.ffn_dim * (2 if model.ffn == "gated" else 1)
    into, out, up, down = (
        states.new_ones(shape) / shape[1]
        for shape in ((width + 2 * keys, model.dim), (model.dim, width), (inner, model.dim), (model.dim, model.ffn_dim))
    )

    def run() -> Tensor:
        parts = F.linear(states, into).split((width, keys, keys), -1)
        query, key, value = (part.unflatten(-1, (-1, head)).transpose(1, 2) for part in parts)
        read = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        mixed = states + F.linear(read.transpose(1, 2).flatten(2), out)
        risen = F.linear(mixed, up)
        if model.ffn == "gated":
            gate, risen = risen.chunk(2, -1)
            risen = F.silu(gate) * risen
        return mixed + F.linear(risen, down)

    return run


def _seconds(work: Callable[[], Tensor]) -> float:
    """Return the shorter time of two calls after one that warms up."""
    float(work().sum())
    found = []
    for _ in range(2):
        began = time.perf_counter()
        float(work().sum())  # waits for the device
        found.append(time.perf_counter() - began)
    return min(found)
