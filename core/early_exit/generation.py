"""Generation with early exit: one token after the other, each from the block that its predecessor left at.

What was read stays as keys and values, so a step costs one token: up to the block it leaves at, and after that its
keys and values (`copy`), nothing (`drop`), or all the rest (`input`). Tokens of the prompt leave just as they would in
an evaluation, so the text is the same as if everything were computed anew, and masked, at every step.

Positions: the model was trained on windows of `seq_len` tokens, and position `seq_len` and beyond mean nothing to it.
So the window slides: once it is full, every step reads the last `seq_len` tokens anew, at positions from 0, as slow as
without keys and values kept. A larger `window` is faster and remembers more, at positions that were never trained.

Shapes: n words that are read at once, D model width, V vocabulary size; R of the words that run through a block, E
that have left before it, P words whose keys and values a layer has kept.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from core.config.run_config import RunConfig
from core.early_exit.fused_layer import left_reading
from core.early_exit.kv_cache import KeptBlock
from core.early_exit.sampling import DEFAULTS, GenerationOptions, choose
from core.errors import UsageError
from core.exits import Observation, exit_method
from core.head.loss import token_statistics
from core.head.token_statistics import TokenStatistics
from core.model import Block, ExitedState, Transformer
from core.rng import stream


@dataclass(frozen=True)
class GeneratedToken:
    """A token that was generated.

    Attributes:
        token: its number.
        block: the block whose output predicted it: where the token before it left.
        signals: exit signals at each exit that came to that, the last one the block's own unless it is the last block.
        probability: by the model's own prediction, at temperature 1 and with all tokens allowed.
    """

    token: int
    block: int
    signals: tuple[float, ...]
    probability: float


def generate(
    model: Transformer,
    thresholds: Sequence[float],
    config: RunConfig,
    prompt: Sequence[int],
    options: GenerationOptions = DEFAULTS,
) -> Iterator[GeneratedToken]:
    """Continue a prompt, token by token; of a prompt longer than the window, its end.

    Args:
        thresholds: one for every block but the last; none at all where there are no exits.

    Raises:
        UsageError: at once, not with the first token: the prompt is empty or not of this vocabulary, an option is out
            of its range, the window is longer than `max_seq_len`, or the model attends to what follows or leaves by
            what it can't know yet.
    """
    options.check()
    window = options.window or config.data.seq_len
    _check(model, config, prompt, window)
    return _generate(model, thresholds, config, list(prompt), window, options)


def _check(model: Transformer, config: RunConfig, prompt: Sequence[int], window: int) -> None:
    vocab_size = model.embedding.num_embeddings
    if not prompt:
        raise UsageError("the prompt has no token in it: give it at least one word (--prompt)")
    if not all(0 <= word < vocab_size for word in prompt):
        raise UsageError(f"the prompt has tokens that are not among the model's {vocab_size}: encode it with its own")
    if not 1 <= window <= config.model.max_seq_len:
        raise UsageError(
            f"the window must be at most model.max_seq_len = {config.model.max_seq_len} tokens, as there are no "
            f"positions beyond, and at least 1, got {window}"
        )
    if not config.model.causal:
        raise UsageError("a model that is not causal attends to the tokens that follow, so it can't generate any")
    if exit_method(config.method).foresees:
        raise UsageError(f"the {config.method} exit looks at the later blocks before it leaves: no model can run it")


def _generate(
    model: Transformer,
    thresholds: Sequence[float],
    config: RunConfig,
    words: list[int],
    window: int,
    options: GenerationOptions,
) -> Iterator[GeneratedToken]:
    draw, reader = stream(options.seed, "generation"), _Reader(model, thresholds, config, window)
    unread = min(len(words), window)
    for _ in range(options.max_tokens):
        if reader.length + unread > window:
            reader.forget()
            unread = min(len(words), window)
        prediction = reader.read(words[-unread:], first=len(words) - unread)
        token = choose(prediction.logits, options, draw)
        probability = float(prediction.logits.double().softmax(0)[token])
        yield GeneratedToken(token, prediction.block, prediction.signals, probability)
        words.append(token)
        unread = 1


@dataclass(frozen=True)
class Prediction:
    """What is expected after the last word: logits `[V]`, the block they come from, the signals seen on the way."""

    logits: Tensor
    block: int
    signals: tuple[float, ...]


class _Reader:
    """Reads words through the model and keeps what later words attend to."""

    def __init__(self, model: Transformer, thresholds: Sequence[float], config: RunConfig, window: int) -> None:
        self.model, self.thresholds, self.config = model, thresholds, config
        self.method = exit_method(config.method)
        self.blocks = [KeptBlock(cast(Block, block), window) for block in model.blocks]
        self.length = 0

    def forget(self) -> None:
        """Begin a new window."""
        self.length = 0
        for block in self.blocks:
            block.forget()

    @torch.no_grad()
    def read(self, numbers: Sequence[int], first: int) -> Prediction:
        """Read on; at least one word.

        Args:
            first: where the first of them stands in the whole text.
        """
        words = torch.tensor(numbers, device=self.model.embedding.weight.device)
        position = torch.arange(self.length, self.length + len(words), device=words.device)
        crowd, origin = _Crowd.of(self.model.embed(words), position), first - self.length
        self.length += len(words)
        prediction, signals = None, list[float]()
        for index, block in enumerate(self.blocks):
            entered = crowd.states
            crowd.states = block.read(entered, crowd.position, crowd.left, crowd.left_position)
            if not crowd.inside.any():
                crowd.states = entered  # run through: they go on as they were
                continue
            hidden, leaves, signal = self._exit(index, crowd, entered, origin)
            if prediction is None:
                signals += signal
                if leaves[-1]:
                    prediction = Prediction(self.model.head_weight(index) @ hidden[-1], index, tuple(signals))
            crowd.leave(leaves, entered, self.config.exit.exited_state, block.block)
        assert prediction is not None, "at the last block all leave"
        return prediction

    def _exit(self, block: int, crowd: "_Crowd", entered: Tensor, origin: int) -> tuple[Tensor, Tensor, list[float]]:
        """Of the words still in: what head and classifier read, `[n, D]`, who leaves, and the last one's signal."""
        output = crowd.states[crowd.inside]
        hidden, is_last = self.model.readout(block, output), block == len(self.blocks) - 1
        if is_last or block >= len(self.thresholds):
            return hidden, torch.full_like(hidden[:, 0], is_last, dtype=torch.bool), []
        seen = Observation(
            hidden=hidden,
            output=output,
            entered=entered[crowd.inside],
            tokens=crowd.position[crowd.inside] + origin,
            block=block,
            seed=self.config.seed,
            statistics=self._statistics(block, hidden) if self.method.reads_head else None,
        )
        signal = self.method.signal(seen, self.model.classifier(block))
        return hidden, signal >= self.thresholds[block], [float(signal[-1])]

    def _statistics(self, block: int, hidden: Tensor) -> TokenStatistics:
        """What the head says; of targets, which are not known, nothing that holds."""
        targets = torch.zeros(len(hidden), dtype=torch.int64, device=hidden.device)
        return token_statistics(hidden, self.model.head_weight(block), targets, self.method.extras)


@dataclass
class _Crowd:
    """Words that are read at once, on their way through the model.

    Attributes:
        states, position: of those that run through the blocks, `[R, D]` and `[R]`.
        inside: which of these are still in; the others run through because the exited state is `input`, bool `[R]`.
        left, left_position: of those that have left and are attended to, what keys and values are made of, `[E, D]`.
    """

    states: Tensor
    position: Tensor
    inside: Tensor
    left: Tensor
    left_position: Tensor

    @staticmethod
    def of(states: Tensor, position: Tensor) -> "_Crowd":
        """All still in."""
        return _Crowd(states, position, torch.ones_like(position, dtype=torch.bool), states[:0], position[:0])

    def leave(self, leaves: Tensor, entered: Tensor, exited_state: ExitedState, block: Block) -> None:
        """Let some of those inside leave after a block, bool; `entered`: the states it was given, `[R, D]`."""
        staying = self.inside.masked_scatter(self.inside, ~leaves)
        if exited_state == "input":
            self.states, self.inside = torch.where(staying[:, None], self.states, entered), staying
            return
        if exited_state == "copy":
            self.left = torch.cat((self.left, left_reading(block, self.states[~staying])))
            self.left_position = torch.cat((self.left_position, self.position[~staying]))
        self.states, self.position, self.inside = self.states[staying], self.position[staying], staying[staying]
