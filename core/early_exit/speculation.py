"""Lossless self-speculative decoding: the blocks up to an exit draft tokens, the whole model verifies them in one pass.

Drafting runs each token through the early blocks; verifying runs the states they have there through the later blocks.
So nothing is computed twice, and the keys and values of the early blocks serve both (Elhoushi et al. 2024,
"LayerSkip"; Zhang et al. 2024, "Draft & Verify"). Rejected tokens are cut out of every cache.

At temperature 0 the text is that of the whole model without exits, token by token, as far as rounding does not decide.
Drawn tokens are distributed as if the whole model had drawn them (Leviathan et al. 2023, "Fast Inference from
Transformers via Speculative Decoding", appendix A.1): a draft x is kept with probability min(1, p(x)/q(x)), and the
first that is not is replaced by a draw from max(0, p − q), made to sum to 1.

As in `core.early_exit.generation` the window slides once it is full; there each token has a context of its own, nothing
can be reused, and none is drafted.

Shapes: n tokens read at once, D model width, V vocabulary size; k drafts.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.config.run_config import RunConfig
from core.costs import exit_costs, full_flops, head_flops, readout_flops
from core.early_exit.cached_blocks import cached_block
from core.early_exit.draft_length import LONGEST, Drafting, PricedLength
from core.early_exit.generation import GeneratedToken, Signals, check_prompt, check_request, exit_signal
from core.early_exit.sampling import DEFAULTS, GenerationOptions, distribution, window_of
from core.exits import exit_method
from core.model import Transformer
from core.rng import stream


@dataclass(frozen=True)
class Pass:
    """A pass of the whole model.

    Attributes:
        drafted: tokens it verified.
        accepted: number of those it kept, the first ones.
        tokens: tokens it added to the text: the accepted ones, by the exit's block, and one of the last block's.
        stopped: whether a signal ended the drafting: one more was computed than tokens were drafted.
    """

    drafted: tuple[int, ...]
    accepted: int
    tokens: tuple[GeneratedToken, ...]
    stopped: bool = False


class Dice:
    """Random choices of a generation, drawn on the CPU."""

    def __init__(self, seed: int) -> None:
        self.draw = stream(seed, "generation")

    def pick(self, chances: Tensor) -> int:
        """Draw an index by its probability `[V]`."""
        return int(torch.multinomial(chances, 1, generator=self.draw))

    def happens(self, chance: float) -> bool:
        """Return True with that probability."""
        return float(torch.rand((), dtype=torch.float64, generator=self.draw)) < chance


def speculate(
    model: Transformer,
    config: RunConfig,
    prompt: Sequence[int],
    drafting: Drafting,
    options: GenerationOptions = DEFAULTS,
    dice: Dice | None = None,
) -> Iterator[Pass]:
    """Continue a prompt as the whole model would, pass by pass, `options.max_tokens` in all.

    Args:
        dice: random choices; None: of `options.seed`.

    Raises:
        UsageError: at once, not with the first pass: as in `generate`, or the model can't draft so (`Drafting.check`).
    """
    check_request(config, options, drafting)
    check_prompt(model, prompt)
    window = window_of(options, config)
    return _Speculator(model, config, drafting, options, dice or Dice(options.seed), window).passes(list(prompt))


class _Speculator:
    """Drafts and verifies; caches what later tokens attend to.

    Attributes:
        length: number of tokens that all blocks have read.
    """

    def __init__(
        self,
        model: Transformer,
        config: RunConfig,
        drafting: Drafting,
        options: GenerationOptions,
        dice: Dice,
        window: int,
    ) -> None:
        self.model, self.config, self.drafting, self.options, self.dice = model, config, drafting, options, dice
        self.blocks, self.window, self.length = [cached_block(block, window) for block in model.blocks], window, 0
        self.priced = PricedLength() if drafting.length is None and drafting.until is None else None

    def passes(self, tokens: list[int]) -> Iterator[Pass]:
        unread, left = min(len(tokens), self.window), self.options.max_tokens
        while left:
            if self.length + unread > self.window:
                self.length, unread = 0, min(len(tokens), self.window)
                for block in self.blocks:
                    block.clear()
            done = self._pass(tokens, unread, room=min(left - 1, self.window - self.length - unread))
            yield done
            tokens += [token.token for token in done.tokens]
            left, unread = left - len(done.tokens), 1

    @torch.no_grad()
    def _pass(self, tokens: list[int], unread: int, room: int) -> Pass:
        """Draft at most `room` tokens after the text, whose last `unread` are yet to be read, and verify them."""
        began, fresh = time.perf_counter(), unread == 1
        states, drafted, chances, signals = self._draft(tokens, unread, self._longest(room))
        between = time.perf_counter()
        logits = self._verify(states, len(drafted) + 1)  # [k + 1, V]
        accepted, last = self._judge(drafted, chances, logits)
        self.length += unread + accepted
        for block in self.blocks if accepted < len(drafted) else ():
            block.cut(self.length)
        added = [*drafted[:accepted], last]
        likely = logits[: len(added)].double().softmax(1)
        probabilities = likely.gather(1, torch.tensor(added, device=likely.device)[:, None])[:, 0].tolist()
        if self.priced is not None and fresh:
            self.priced.saw(len(drafted), accepted, between - began, time.perf_counter() - between)
        stopped = len(signals) > len(drafted)
        signals += [()] * (len(added) - len(signals))
        places = [self.drafting.block] * accepted + [len(self.blocks) - 1]
        found = map(GeneratedToken, added, places, signals, probabilities)
        return Pass(tuple(drafted), accepted, tuple(found), stopped)

    def _longest(self, room: int) -> int:
        if self.priced is not None:
            return min(room, self.priced.next()) if room else 0
        return min(room, LONGEST if self.drafting.length is None else self.drafting.length)

    def _draft(
        self, tokens: list[int], unread: int, longest: int
    ) -> tuple[Tensor, list[int], list[Tensor], list[Signals]]:
        """Return states at the exit `[n + k, D]`, drafts, the probabilities they were drawn with, and signals."""
        exit_, at = self.drafting.block, self.length
        first = len(tokens) - unread  # place in the text
        states, entered = self._read_early(tokens[-unread:], at)
        read, drafted, chances, signals = [states], list[int](), list[Tensor](), list[Signals]()
        at, first = at + unread, first + unread
        while len(drafted) < longest:
            hidden = self.model.readout(exit_, states[-1:])
            signal = self._signal(hidden, states[-1:], entered[-1:], first - 1)
            signals.append(() if signal is None else ((None,) * exit_ + (signal,)))
            if signal is not None and self.drafting.until is not None and signal < self.drafting.until:
                break
            logits = self.model.head_weight(exit_) @ hidden[0]
            if self.options.temperature == 0:
                drafted.append(int(logits.argmax()))
            else:
                chances.append(distribution(logits, self.options))
                drafted.append(self.dice.pick(chances[-1]))
            states, entered = self._read_early(drafted[-1:], at)
            read.append(states)
            at, first = at + 1, first + 1
        return torch.cat(read), drafted, chances, signals

    def _read_early(self, tokens: Sequence[int], at: int) -> tuple[Tensor, Tensor]:
        """Read tokens at positions from `at` on; return states after the exit's block and before it, `[n, D]`."""
        ids = torch.tensor(tokens, device=self.model.embedding.weight.device)
        position = torch.arange(at, at + len(ids), device=ids.device)
        states = entered = self.model.embed_at(ids, position)
        for block in self.blocks[: self.drafting.block + 1]:
            entered, (states, _) = states, block.read(states, position, states[:0], position[:0])
        return states, entered

    def _signal(self, hidden: Tensor, output: Tensor, entered: Tensor, place: int) -> float | None:
        if self.drafting.until is None:
            return None
        tokens = torch.tensor([place], device=hidden.device)
        found = exit_signal(
            self.model,
            self.config,
            self.drafting.block,
            hidden=hidden,
            output=output,
            entered=entered,
            tokens=tokens,
        )
        return float(found[0])

    def _verify(self, states: Tensor, predictions: int) -> Tensor:
        """Run states through the later blocks, `[n, D]`; return the logits after the last of them, `[k + 1, V]`."""
        position = torch.arange(self.length, self.length + len(states), device=states.device)
        for block in self.blocks[self.drafting.block + 1 :]:
            states, _ = block.read(states, position, states[:0], position[:0])
        last = len(self.blocks) - 1
        return self.model.readout(last, states[-predictions:]) @ self.model.head_weight(last).T

    def _judge(self, drafted: Sequence[int], chances: Sequence[Tensor], logits: Tensor) -> tuple[int, int]:
        """Return the number of accepted drafts, and the token that follows them."""
        if self.options.temperature == 0:
            best = logits.argmax(1).tolist()
            accepted = next((k for k, token in enumerate(drafted) if token != best[k]), len(drafted))
            return accepted, best[accepted]
        for k, (token, draft) in enumerate(zip(drafted, chances, strict=True)):
            whole = distribution(logits[k], self.options)
            if not self.dice.happens(float(whole[token] / draft[token])):
                return k, self.dice.pick(residual(whole, draft))
        return len(drafted), self.dice.pick(distribution(logits[len(drafted)], self.options))


def residual(whole: Tensor, draft: Tensor) -> Tensor:
    """Return the distribution after a rejection, max(0, p − q) made to sum to 1, `[V]`."""
    left = (whole - draft).clamp(min=0)
    total = left.sum()
    return left / total if total > 0 else whole


@dataclass(frozen=True)
class Tally:
    """Figures of passes.

    Attributes:
        flops: FLOPs of a token as a multiple of plain decoding's, by the true costs; a prompt and a window that slides
            cost both alike and do not count.
    """

    passes: int
    tokens: int
    drafted: int
    accepted: int
    flops: float

    @property
    def acceptance(self) -> float | None:
        """Share of the drafts that were accepted; None without any."""
        return self.accepted / self.drafted if self.drafted else None

    @property
    def tokens_per_pass(self) -> float:
        """Mean number of tokens that a pass of the whole model added."""
        return self.tokens / self.passes


def tally(passes: Sequence[Pass], drafting: Drafting, config: RunConfig, vocab_size: int) -> Tally:
    """Sum up passes, at least one."""
    model, seq_len = config.model, config.data.seq_len
    drafted, tokens = sum(len(one.drafted) for one in passes), sum(len(one.tokens) for one in passes)
    full = full_flops(model, vocab_size, seq_len)
    signal = _signal_flops(config, drafting, vocab_size)
    head = 0 if _reads_head(config, drafting) else head_flops(model, vocab_size)
    spent = (len(passes) + drafted) * full + drafted * (signal + head) + sum(one.stopped for one in passes) * signal
    return Tally(len(passes), tokens, drafted, sum(one.accepted for one in passes), spent / tokens / full)


def _signal_flops(config: RunConfig, drafting: Drafting, vocab_size: int) -> int:
    """FLOPs of the exit's readout for a token and, where its signal is asked for, of the head or the classifier."""
    own = readout_flops(config.model, drafting.block)
    if drafting.until is None:
        return own
    if _reads_head(config, drafting):
        return own + head_flops(config.model, vocab_size)
    learns = exit_method(config.method).learns
    classifiers = exit_costs(config, vocab_size, reads_head=False, learns=learns).classifiers
    return own if classifiers is None else own + classifiers[drafting.block]


def _reads_head(config: RunConfig, drafting: Drafting) -> bool:
    """Whether the exit's signal has read the head, so that a draft costs it no more."""
    return drafting.until is not None and exit_method(config.method).reads_head
