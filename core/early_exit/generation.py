"""Generation with early exit: one token after the other, each predicted by the block that its predecessor left at.

Keys and values are cached, so a step costs one token: every block up to the one it leaves at, and after that its keys
and values (`copy`, and a linear map: `linear`), nothing (`drop`), all the rest (`input`), or all the rest once a later
token goes deeper (`deferred`). Tokens of the prompt leave as they would in an evaluation, so the text is the same as
with a masked pass over everything at every step.

A model of ours was trained on windows of `seq_len` tokens; positions from `seq_len` on are untrained. So the window
slides: once it is full, every step reads the last `seq_len` tokens again from position 0, as slowly as without a cache.
A larger `window` is faster and sees more, at untrained positions. The window of a pretrained model is its context.

Shapes: n tokens read at once, D model width, V vocabulary size; R tokens that run through a block, E tokens that left
before it, P cached tokens.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.config.derived import exit_count
from core.config.run_config import RunConfig
from core.early_exit.cached_blocks import cached_block
from core.early_exit.draft_length import Drafting
from core.early_exit.reading import Deferred, Reading
from core.early_exit.sampling import DEFAULTS, GenerationOptions, choose, window_of
from core.errors import UsageError
from core.exits import exit_method, saved_by_leaving
from core.exits._contract import Observation
from core.head.loss import token_statistics
from core.model import Transformer
from core.pricing.thresholds import is_on
from core.rng import stream

NO_TOKEN = "the prompt has no token in it: give it at least one word (--prompt)"
Signals = tuple[float | None, ...]


@dataclass(frozen=True)
class GeneratedToken:
    """A generated token.

    Attributes:
        token: vocabulary index.
        block: the block that predicted it: where the token before it left.
        signals: exit signals of the token before it, at every exit it reached, in order; None at one that is off.
        probability: its probability under that prediction, at temperature 1 and with all tokens allowed.
    """

    token: int
    block: int
    signals: Signals
    probability: float


def generate(
    model: Transformer,
    thresholds: Sequence[float],
    config: RunConfig,
    prompt: Sequence[int],
    options: GenerationOptions = DEFAULTS,
) -> Iterator[GeneratedToken]:
    """Continue a prompt, token by token; a prompt longer than the window is cut to its end.

    Args:
        thresholds: one for every block but the last; none at all where there are no exits.

    Raises:
        UsageError: at once, not with the first token: the prompt is empty or not of this vocabulary, an option is out
            of its range, the window is longer than `max_seq_len`, the model is not causal, or its exits look at later
            blocks.
    """
    check_request(config, options)
    check_prompt(model, prompt)
    return _generate(model, thresholds, config, list(prompt), window_of(options, config), options)


def check_request(
    config: RunConfig, options: GenerationOptions, drafting: Drafting | None = None, prompts: Iterable[str] = ()
) -> None:
    """Refuse what a model of that config can't do, without the model, which may take long to load.

    Args:
        drafting: how an exit drafts; None: tokens leave early instead.

    Raises:
        UsageError: an option or the window is out of range, a prompt is empty, the model is not causal, its exits look
            at later blocks, or it can't draft so (`Drafting.check`).
    """
    options.check()
    if not (config.data.bos_token or all(prompts)):
        raise UsageError(NO_TOKEN)
    window, longest, blocks = window_of(options, config), config.model.max_seq_len, len(config.model.block_layers)
    if not 1 <= window <= longest:
        raise UsageError(
            f"the window must be at most model.max_seq_len = {longest} tokens, as there are no positions beyond, and "
            f"at least 1, got {window}"
        )
    if not config.model.causal:
        raise UsageError("a model that is not causal attends to the tokens that follow, so it can't generate any")
    foresees = exit_method(config.method).foresees
    if drafting is not None:
        drafting.check(blocks, exit_count(config.protocol, blocks) > 0, foresees)
    elif foresees:
        raise UsageError(
            f"the {config.method_name} exit looks at the later blocks before it leaves: no model can run it"
        )


def check_prompt(model: Transformer, prompt: Sequence[int]) -> None:
    """Refuse a prompt that no decoding can begin with.

    Raises:
        UsageError: it is empty, or not of the model's vocabulary.
    """
    vocab_size = model.embedding.num_embeddings
    if not prompt:
        raise UsageError(NO_TOKEN)
    if not all(0 <= token < vocab_size for token in prompt):
        raise UsageError(f"the prompt has tokens that are not among the model's {vocab_size}: encode it with its own")


def _generate(
    model: Transformer,
    thresholds: Sequence[float],
    config: RunConfig,
    tokens: list[int],
    window: int,
    options: GenerationOptions,
) -> Iterator[GeneratedToken]:
    draw, reader = stream(options.seed, "generation"), Reader(model, thresholds, config, window)
    unread = min(len(tokens), window)
    for _ in range(options.max_tokens):
        if reader.length + unread > window:
            reader.clear()
            unread = min(len(tokens), window)
        prediction = reader.read(tokens[-unread:], first=len(tokens) - unread)
        token = choose(prediction.logits, options, draw)
        probability = float((prediction.logits[token] - prediction.logits.logsumexp(0)).exp())
        yield GeneratedToken(token, prediction.block, prediction.signals, probability)
        tokens.append(token)
        unread = 1


@dataclass(frozen=True)
class Prediction:
    """Prediction after the last token: logits `[V]`, the block they come from, the signals on the way."""

    logits: Tensor
    block: int
    signals: Signals


class Reader:
    """Reads tokens through the model and caches what later tokens attend to."""

    def __init__(self, model: Transformer, thresholds: Sequence[float], config: RunConfig, window: int) -> None:
        self.model, self.thresholds, self.config = model, thresholds, config
        self.blocks = [cached_block(block, window) for block in model.blocks]
        self.deferred = Deferred(len(self.blocks)) if config.exit.exited_state == "deferred" else None
        self.length = 0

    def clear(self) -> None:
        """Begin a new window."""
        self.length = 0
        if self.deferred is not None:
            self.deferred.clear()
        for block in self.blocks:
            block.clear()

    @torch.no_grad()
    def read(self, tokens: Sequence[int], first: int) -> Prediction:
        """Read on, at least one token; predict the next.

        Args:
            tokens: vocabulary indices.
            first: place of the first of them in the whole text.
        """
        token_ids = torch.tensor(tokens, device=self.model.embedding.weight.device)  # [n]
        position = torch.arange(self.length, self.length + len(token_ids), device=token_ids.device)  # [n]
        reading, origin = Reading.all_active(self.model.embed_at(token_ids, position), position), first - self.length
        self.length += len(token_ids)
        prediction, signals = None, list[float | None]()
        for index, block in enumerate(self.blocks):
            if self.deferred is not None and not self.deferred.enter(index, reading):
                break
            entered = reading.states
            arguments = (reading.position, reading.exited, reading.exited_position)
            reading.states, reading.exited = block.read(entered, *arguments)
            if not reading.active.any():
                reading.states = entered  # exited tokens under `input` go on as they were
                continue
            if index == len(self.blocks) - 1:
                return prediction or self._predict(index, self.model.readout(index, reading.states[-1:]), signals)
            if index >= len(self.thresholds) or not is_on(self.thresholds[index]):
                signals += [None] if index < len(self.thresholds) else []
                reading.stay(entered, self.config.exit.exited_state)
                continue
            hidden, signal = self._read_out(index, reading, entered, origin)
            leaves = signal >= self.thresholds[index]
            if prediction is None:
                signals.append(float(signal[-1]))
                prediction = self._predict(index, hidden, signals) if leaves[-1] else None
            reading.exit(leaves, entered, self.config.exit.exited_state, block)
        assert prediction is not None, "at the last block all leave"
        return prediction

    def _predict(self, block: int, hidden: Tensor, signals: Sequence[float | None]) -> Prediction:
        """Predict what follows the last token of a readout `[n, D]`."""
        return Prediction(self.model.head_weight(block) @ hidden[-1], block, tuple(signals))

    def _read_out(self, block: int, reading: Reading, entered: Tensor, origin: int) -> tuple[Tensor, Tensor]:
        """Return the active tokens' readout `[n, D]` and exit signal `[n]`."""
        output = reading.states[reading.active]
        hidden = self.model.readout(block, output)
        signal = exit_signal(
            self.model,
            self.config,
            block,
            hidden=hidden,
            output=output,
            entered=entered[reading.active],
            tokens=reading.position[reading.active] + origin,
        )
        return hidden, signal


def exit_signal(
    model: Transformer,
    config: RunConfig,
    block: int,
    *,
    hidden: Tensor,
    output: Tensor,
    entered: Tensor,
    tokens: Tensor,
) -> Tensor:
    """Compute the exit signal of tokens at a block, `[n]`; arguments are those of `Observation`.

    Targets are unknown, so figures of targets in the head's statistics mean nothing.
    """
    method, head, statistics = exit_method(config.method), model.head_weight(block), None
    if method.reads_head:
        targets = torch.zeros(len(hidden), dtype=torch.int64, device=hidden.device)
        statistics = token_statistics(hidden, head, targets, method.extras)
    seen = Observation(
        hidden=hidden,
        output=output,
        entered=entered,
        tokens=tokens,
        block=block,
        seed=config.seed,
        statistics=statistics,
        saved=saved_by_leaving(config, model.embedding.num_embeddings, block),
    )
    return method.signal(seen, model.classifier(block))
