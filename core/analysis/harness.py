"""A run as a model of lm-evaluation-harness: its tasks at early exit, or at a fixed depth.

An optional extra (`eetui[lm-eval]`), imported where tasks are run. Early exit really skips, in scoring as in
generation; a fixed depth runs no later block.

Shapes: B requests, T tokens of the longest, n tokens of all, K blocks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch import Tensor

from core.analysis.realised_savings import needed_to
from core.analysis.text_generator import TextGenerator
from core.config.run_config import RunConfig
from core.data.batches import READ_TOKENS
from core.data.windows import Windows
from core.early_exit.sampling import GenerationOptions
from core.errors import UsageError
from core.evaluation.passes import Pass, early_exit
from core.exits import exit_method
from core.formulas import share_of_layers_saved
from core.head.loss import token_statistics
from core.pretrained.place import find
from core.pretrained.settings import read_settings
from core.pricing.thresholds import NEVER

LONGEST_ANSWER = 256
"""Tokens generated at most where a task does not say."""
Request = tuple[tuple[str, str], list[int], list[int]]
"""Texts, then tokens, of a context and what is to follow it."""


def check_exit(config: RunConfig, block: int | None) -> None:
    """Refuse what a model of that config can't do, without the model, which may take long to load.

    Args:
        block: as in `ExitsLM`.

    Raises:
        UsageError: the model is not causal, has no such block, or no exits that it can run.
    """
    blocks = len(config.model.block_layers)
    if not config.model.causal:
        raise UsageError("a model that is not causal attends to the tokens that follow, so it can't answer tasks")
    if block is not None and not 0 <= block < blocks:
        raise UsageError(f"the run has blocks 0 to {blocks - 1}, and none with number {block}")
    if block is None and exit_method(config.method).foresees:
        raise UsageError(
            f"the {config.method_name} exit looks at the later blocks before it leaves: no model can run it; take a "
            f"fixed depth (--exit)"
        )


class ExitsLM(TemplateLM):  # type: ignore[misc]  # it has no types
    """A model for `lm_eval.simple_evaluate`.

    Attributes:
        block: block that predicts every token; None: each token leaves by the run's thresholds.
        left_at: number of tokens read that left at each block, `[K]`.
        ran_to: number of tokens read that ran no further than each block, `[K]`; under `deferred`, a token runs as far
            as any after it.
    """

    def __init__(self, generator: TextGenerator, block: int | None = None, device: str = "cpu") -> None:
        """Wrap a run or an adapter.

        Raises:
            UsageError: the model is not causal, has no such block, or no exits that it can run.
        """
        super().__init__()
        check_exit(generator.config, block)
        blocks = len(generator.model.blocks)
        if block is not None:
            fixed = [NEVER] * block + ([0.0] if block < blocks - 1 else [])
            generator = replace(generator, thresholds=tuple(fixed))
        self.generator, self.block, self.left_at = generator, block, [0] * blocks
        self.ran_to = [0] * blocks
        self.model, self.config = generator.model.to(device), generator.config

    @property
    def max_length(self) -> int:
        """Tokens that are read at once: a pretrained model's context, else as many as in training."""
        return self.config.model.max_seq_len if self.config.model.pretrained else self.config.data.seq_len

    @property
    def eot_token_id(self) -> int:
        """Token that ends a text, and stands before its beginning; 0 where the model has none."""
        if not self.config.model.pretrained:
            return 0
        settings = read_settings(find(self.config.model.source))
        found = settings.eos_token_id if settings.eos_token_id is not None else settings.bos_token_id
        return int((found[0] if isinstance(found, list) else found) or 0)

    @property
    def layers_saved(self) -> float:
        """Share of the layers that the tokens read so far did not run."""
        total = max(1, sum(self.ran_to))
        return share_of_layers_saved((count / total for count in self.ran_to), self.config.model.block_layers)

    def _count(self, left_at: Sequence[int]) -> None:
        """Count the tokens of a text by the blocks that they left at, in order."""
        blocks = np.array(left_at, np.int64)
        deferred = len(blocks) and self.config.exit.exited_state == "deferred"
        ran = needed_to(blocks, len(blocks), causal=True) if deferred else blocks
        for counts, reached in ((self.left_at, blocks), (self.ran_to, ran)):
            for block in reached.tolist():
                counts[block] += 1

    @property
    def beginning(self) -> tuple[int, ...]:
        """The token that every text begins with, where the run was trained so (`data.bos_token`); else none."""
        found = self.generator.vocabulary.beginning if self.config.data.bos_token else None
        return () if found is None else (found,)

    @property
    def prefix_token_id(self) -> int:
        """Token that stands for a context without a text."""
        return self.beginning[0] if self.beginning else self.eot_token_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Return the tokens of a text, after the one that texts begin with where the run was trained so."""
        return [*(self.beginning if add_special_tokens is not False else ()), *self.generator.vocabulary.encode(string)]

    def _window(self, tokens: list[int]) -> list[int]:
        """Return the last tokens of a text that are read at once, with the one after them; begun as in training."""
        start = self.beginning
        own = tokens[len(start) :] if tuple(tokens[: len(start)]) == start else tokens
        return [*start, *own[-self.max_length - 1 + len(start) :]]

    def _loglikelihood_tokens(self, requests: Sequence[Request], **_: Any) -> list[tuple[float, bool]]:
        """Return the log-probability of each continuation after its context, and whether it is the likeliest."""
        results: list[tuple[float, bool]] = [(0.0, True)] * len(requests)
        tokens = [self._window(context + wanted) for _, context, wanted in requests]
        for batch in _batches([len(some) for some in tokens]):
            found = self._read([tokens[index] for index in batch])
            for row, index in enumerate(batch):
                stop = len(tokens[index]) - 1
                scored = slice(max(0, stop - len(requests[index][2])), stop)
                results[index] = -float(found.cross_entropy[row, scored].sum()), bool(found.correct[row, scored].all())
        return results

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Return the log-probability of each text, window by window."""
        results = []
        for (text,) in (request.args for request in requests):
            tokens = self.tok_encode(text, add_special_tokens=False)
            windows = get_rolling_token_windows(tokens, self.prefix_token_id, self.max_length, 1)
            pairs = [(("", ""), *make_disjoint_window(window)) for window in windows]
            results.append(sum(found for found, _ in self._loglikelihood_tokens(pairs)))
        return results

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Return what follows each context, up to the first of its stop texts."""
        return [self._answer(*request.args) for request in requests]

    def _answer(self, context: str, options: dict[str, Any]) -> str:
        until = options.get("until") or []
        until = [until] if isinstance(until, str) else until
        temperature = float(options.get("temperature", 0.0)) if options.get("do_sample") else 0.0
        most = int(options.get("max_gen_toks") or options.get("max_new_tokens") or LONGEST_ANSWER)
        chosen = GenerationOptions(most, temperature, top_p=float(options.get("top_p") or 1.0), window=self.max_length)
        text, left_at = "", list[int]()
        for piece in self.generator.write(context, chosen):
            if piece.token.token == self.eot_token_id and self.config.model.pretrained:
                break
            left_at.append(piece.token.block)
            text += piece.text
            if ends := [text.index(stop) for stop in until if stop and stop in text]:
                text = text[: min(ends)]
                break
        self._count(left_at)
        return text

    @torch.no_grad()
    def _read(self, tokens: Sequence[list[int]]) -> Pass:
        """Predict every token after the first of each text, `[B, T]`; what follows the end of a text means nothing."""
        width, device = max(map(len, tokens)) - 1, self.model.embedding.weight.device
        padded = torch.tensor([some + [0] * (width + 1 - len(some)) for some in tokens], device=device)  # [B, T + 1]
        windows = Windows(padded[:, :-1], padded[:, 1:])
        result = Pass.empty(windows.targets)
        if self.block is None:
            early_exit(self.model, self.generator.thresholds, windows, slice(0, len(tokens)), result, self.config)
        else:
            self._at_depth(windows, self.block, result)
        for row, some in enumerate(tokens):
            self._count(result.left_at[row, : len(some) - 1].tolist())
        return result

    def _at_depth(self, windows: Windows, depth: int, result: Pass) -> None:
        """Predict all tokens with one block, and run no later one."""
        states: Tensor = self.model.embed(windows.inputs)  # [B, T, D]
        for block in self.model.blocks[: depth + 1]:
            states = block(states)
        hidden = self.model.readout(depth, states.flatten(0, 1))  # [n, D]
        statistics = token_statistics(hidden, self.model.head_weight(depth), windows.targets.flatten())
        result.fill(slice(None), torch.ones_like(windows.targets, dtype=torch.bool), statistics, depth)


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the numbers of texts that are read together: of similar length, and at most `READ_TOKENS` tokens."""
    waiting = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    while waiting:
        most = max(1, READ_TOKENS // lengths[waiting[0]])
        yield waiting[:most]
        waiting = waiting[most:]
