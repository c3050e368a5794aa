"""The seed report's protocol as its authors would write it: ordinary torch, nothing shared, nothing cached.

For `three_methods.py` to time: every method trains every block itself, the loss is
`F.cross_entropy` of all logits, and each epoch of an exit classifier runs the transformer and the head again.

Shapes: B windows, T tokens of a window, D model width, V vocabulary size.
"""

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCH_SIZE = 64


@dataclass(frozen=True)
class Options:
    """What the report's configuration calls the same."""

    method: str
    vocab_size: int
    max_epochs: int
    exit_epochs: int
    patience: int
    seed: int = 42
    dim: int = 64
    num_heads: int = 4
    ffn_dim: int = 256
    block_layers: tuple[int, ...] = (2, 2)
    max_seq_len: int = 1024
    lr: float = 1e-3
    later_lr_scale: float = 0.1
    hard_ratio: float = 0.5
    val_ratio: float = 0.2
    grad_clip: float = 1.0


class Layer(nn.Module):
    """Post-norm: attention with rotary positions, then SwiGLU."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        dim, self.heads = options.dim, options.num_heads
        self.query, self.key, self.value, self.output = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.w1, self.w3 = (nn.Linear(dim, options.ffn_dim, bias=False) for _ in range(2))
        self.w2 = nn.Linear(options.ffn_dim, dim, bias=False)
        self.norm1, self.norm2 = (nn.RMSNorm(dim, eps=1e-6) for _ in range(2))
        cos, sin = rotary_angles(dim // self.heads, options.max_seq_len)
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, dim = x.shape
        query, key, value = (
            projection(x).view(batch, length, self.heads, -1).transpose(1, 2)
            for projection in (self.query, self.key, self.value)
        )
        cos, sin = self.cos[:length], self.sin[:length]
        mixed = F.scaled_dot_product_attention(rotate(query, cos, sin), rotate(key, cos, sin), value, is_causal=True)
        x = self.norm1(x + self.output(mixed.transpose(1, 2).reshape(batch, length, dim)))
        return self.norm2(x + self.w2(F.silu(self.w1(x)) * self.w3(x)))


def rotary_angles(head_dim: int, length: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of every position's angles, `[length, D/H]`."""
    frequencies = 10_000.0 ** (-torch.arange(0, head_dim, 2) / head_dim)
    angles = torch.outer(torch.arange(length), frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn `x [B, H, T, D/H]` by its positions' angles, the two halves as pairs."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-high, low), dim=-1) * sin


class Model(nn.Module):
    """An embedding that is never trained, blocks, a classifier for each, and one head for all."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.embedding = nn.Embedding(options.vocab_size, options.dim)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(Layer(options) for _ in range(layers))) for layers in options.block_layers
        )
        self.classifiers = nn.ModuleList(nn.Linear(options.dim, 1) for _ in options.block_layers)
        self.head = nn.Linear(options.dim, options.vocab_size, bias=False)
        nn.init.trunc_normal_(self.embedding.weight, std=0.02)
        nn.init.trunc_normal_(self.head.weight, std=options.dim**-0.5)
        self.embedding.requires_grad_(False)


@dataclass
class Result:
    """What comes out, and the seconds of each part."""

    block_val_loss: list[float] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    loss: float = 0.0
    shallow_ratio: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - began


def run(options: Options, train: tuple[Tensor, Tensor], evaluation: tuple[Tensor, Tensor]) -> Result:
    """The whole protocol for one method, on windows and their next words, int64 `[N, T]`."""
    torch.manual_seed(options.seed)
    model, result = Model(options), Result()
    states, targets = model.embedding(train[0]), train[1]
    for block in range(len(options.block_layers)):
        with result.timing(f"block {block}"):
            result.block_val_loss.append(train_block(model, block, states, targets, options))
        if options.method != "softmax":
            with result.timing(f"exit {block}"):
                fit_classifier(model, block, states, targets, options)
        with result.timing(f"exit {block}"):
            states, targets, threshold = hard_tokens(model, block, states, targets, options)
        result.thresholds.append(threshold)
    with result.timing("evaluation"):
        result.loss, result.shallow_ratio = evaluate(model, result.thresholds, *evaluation, options)
    return result


def train_block(model: Model, block: int, states: Tensor, targets: Tensor, options: Options) -> float:
    """Train a block and the head with early stopping; the best validation loss in nats a token."""
    shuffled = torch.randperm(len(states))
    held_out = int(len(states) * options.val_ratio)
    train, validation = shuffled[held_out:], shuffled[:held_out]
    parameters = [*model.blocks[block].parameters(), *model.head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate(block, options))
    best_loss, best_state, patience = float("inf"), copy.deepcopy(model.state_dict()), options.patience
    for _ in range(options.max_epochs):
        for batch in train[torch.randperm(len(train))].split(BATCH_SIZE):
            logits = model.head(model.blocks[block](states[batch]))
            loss = F.cross_entropy(logits.flatten(0, 1), targets[batch].flatten(), reduction="sum")
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, options.grad_clip)
            optimizer.step()
        val_loss = validate(model, block, states[validation], targets[validation])
        if val_loss < best_loss:
            best_loss, best_state, patience = val_loss, copy.deepcopy(model.state_dict()), options.patience
        else:
            patience -= 1
        if patience == 0:
            break
    model.load_state_dict(best_state)
    return best_loss


@torch.no_grad()
def validate(model: Model, block: int, states: Tensor, targets: Tensor) -> float:
    total = 0.0
    for x, y in zip(states.split(BATCH_SIZE), targets.split(BATCH_SIZE), strict=True):
        logits = model.head(model.blocks[block](x))
        total += F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum").item()
    return total / targets.numel()


def fit_classifier(model: Model, block: int, states: Tensor, targets: Tensor, options: Options) -> None:
    """Fit the exit classifier to its labels, everything else frozen."""
    classifier = model.classifiers[block]
    optimizer = torch.optim.Adam(classifier.parameters(), lr=learning_rate(block, options))
    for _ in range(options.exit_epochs):
        for batch in torch.randperm(len(states)).split(BATCH_SIZE):
            with torch.no_grad():
                hidden = model.blocks[block](states[batch])
                label = exit_label(model.head(hidden), targets[batch], options.method)
            predicted = torch.sigmoid(classifier(hidden)).squeeze(-1)
            loss = ((predicted - label) ** 2).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def exit_label(logits: Tensor, targets: Tensor, method: str) -> Tensor:
    """distill: the largest probability; loss: exp(−cross-entropy). `[B, T]`."""
    if method == "distill":
        return F.softmax(logits, dim=-1).max(dim=-1).values
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return torch.exp(-losses).view_as(targets)


def exit_signal(model: Model, block: int, hidden: Tensor, method: str) -> Tensor:
    """How sure a block is of each token, `[B, T]`."""
    if method == "softmax":
        return F.softmax(model.head(hidden), dim=-1).max(dim=-1).values
    return torch.sigmoid(model.classifiers[block](hidden)).squeeze(-1)


@torch.no_grad()
def hard_tokens(
    model: Model, block: int, states: Tensor, targets: Tensor, options: Options
) -> tuple[Tensor, Tensor, float]:
    """States and next words of the tokens below the threshold, packed into new windows; the threshold."""
    hidden = torch.cat([model.blocks[block](x) for x in states.split(BATCH_SIZE)])
    signal = torch.cat([exit_signal(model, block, x, options.method) for x in hidden.split(BATCH_SIZE)])
    threshold = torch.quantile(signal.flatten(), options.hard_ratio).item()
    hard, length = signal < threshold, targets.shape[1]
    count = int(hard.sum()) // length * length
    packed = hidden[hard][:count].view(-1, length, options.dim)
    return packed, targets[hard][:count].view(-1, length), threshold


@torch.no_grad()
def evaluate(
    model: Model, thresholds: list[float], inputs: Tensor, targets: Tensor, options: Options
) -> tuple[float, float]:
    """Mean loss in nats with early exit, and the share of tokens that leaves before the last block."""
    total, left = 0.0, 0
    last = len(options.block_layers) - 1
    for x, y in zip(inputs.split(BATCH_SIZE), targets.split(BATCH_SIZE), strict=True):
        states, staying = model.embedding(x), torch.ones_like(x, dtype=torch.bool)
        for block in range(last + 1):
            hidden = model.blocks[block](states)
            logits = model.head(hidden)
            leaving = staying.clone()
            if block < last:
                leaving &= exit_signal(model, block, hidden, options.method) >= thresholds[block]
                left += int(leaving.sum())
            losses = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view_as(y)
            total += losses[leaving].sum().item()
            staying &= ~leaving
            states = torch.where(staying[..., None], hidden, states)
    return total / targets.numel(), left / targets.numel()


def learning_rate(block: int, options: Options) -> float:
    return options.lr * (options.later_lr_scale if block else 1.0)
