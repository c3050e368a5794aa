"""Attention of the tokens that are still in, though windows have kept different numbers of them.

Windows are put in the order of those numbers and cut into groups of near-equal ones. Each group is one call of fused
attention, its queries padded to the largest number of the group: the work shrinks with the tokens, and few queries are
padding. Padding repeats some token, and what it reads is thrown away.

Shapes: B windows, T tokens of a window, D model width; S tokens that are still in, E that have left and are attended
to, W windows with any that are still in, P padded queries, R padded keys.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

PRODUCTS_OF_A_CALL = 2**17
"""Queries × keys × width that take as long as one more call of fused attention, about 25 µs on one CPU core."""


@dataclass(frozen=True)
class Group:
    """Neighbouring windows, of those with tokens still in, that attend in one call.

    Attributes:
        queries, keys: where theirs are among the P and the R.
        bias: what is added to the scores, broadcast to `[windows, heads, queries, keys]`; None: nothing.
        causal: whether queries and keys are the same tokens, who attend to earlier ones only.
    """

    windows: slice
    queries: slice
    keys: slice
    bias: Tensor | None = None
    causal: bool = False

    @property
    def count(self) -> int:
        """How many windows."""
        return len(range(self.windows.start, self.windows.stop))


@dataclass(frozen=True)
class Packing:
    """Where tokens go for attention, and where they come back from.

    Attributes:
        queries: which of the S tokens each padded query is, `[P]`; None: all in order.
        keys: which of the S + E tokens each padded key is, `[R]`; None: all in order.
        slot: which padded query each of the S tokens is; None: all in order.
    """

    heads: int
    groups: tuple[Group, ...]
    queries: Tensor | None = None
    keys: Tensor | None = None
    slot: Tensor | None = None

    def attend(self, query: Tensor, keys_values: Tensor) -> Tensor:
        """What the S tokens read.

        Args:
            query: theirs, rotated, `[S, D]`.
            keys_values: theirs and then those of the E tokens, the keys rotated, `[S + E, 2D]`.
        """
        queries, keys_values = _taken(query, self.queries), _taken(keys_values, self.keys)
        parts = [self._attend(group, queries, keys_values) for group in self.groups]
        return _taken(parts[0] if len(parts) == 1 else torch.cat(parts), self.slot)

    def _attend(self, group: Group, queries: Tensor, keys_values: Tensor) -> Tensor:
        """The padded queries of a group, `[count × queries, D]`."""
        query = queries[group.queries].view(group.count, -1, self.heads, queries.shape[1] // self.heads)
        both = keys_values[group.keys].view(group.count, -1, 2, *query.shape[2:])
        key, value = both.permute(2, 0, 3, 1, 4).unbind()
        mixed = F.scaled_dot_product_attention(
            query.transpose(1, 2), key, value, attn_mask=group.bias, is_causal=group.causal
        )
        return mixed.transpose(1, 2).reshape(-1, queries.shape[1])


def _taken(rows: Tensor, chosen: Tensor | None) -> Tensor:
    return rows if chosen is None else rows.index_select(0, chosen)


@dataclass(frozen=True)
class Crowd:
    """Which tokens of a batch of windows are still in, and which have left.

    Attributes:
        windows, tokens: B, T.
        staying: place `window × T + position` of each that is still in, in order, int64 `[S]`.
        left: the same of each that has left and is attended to, in any order, `[E]`.
    """

    windows: int
    tokens: int
    staying: Tensor
    left: Tensor

    @staticmethod
    def everyone(words: Tensor) -> "Crowd":
        """Nobody of `words [B, T]` has left."""
        places = torch.arange(words.numel(), device=words.device)
        return Crowd(len(words), words.shape[1], places, places[:0])

    @property
    def complete(self) -> bool:
        """Whether nobody has left."""
        return len(self.staying) == self.windows * self.tokens

    @property
    def mask(self) -> Tensor:
        """Who is still in, bool `[B, T]`."""
        mask = torch.zeros(self.windows * self.tokens, dtype=torch.bool, device=self.staying.device)
        return mask.index_fill_(0, self.staying, True).view(self.windows, self.tokens)

    def without(self, leaving: Tensor, remaining: Tensor) -> "Crowd":
        """The crowd after some have left; those who leave and those who remain by their indices among the S."""
        left = torch.cat((self.left, self.staying.index_select(0, leaving)))
        return replace(self, staying=self.staying.index_select(0, remaining), left=left)

    def keeping(self, reached: Tensor) -> "Crowd":
        """The crowd, and of those who have left these, by their indices among the E."""
        return replace(self, left=self.left.index_select(0, reached))

    def reached(self, *, causal: bool) -> Tensor:
        """Which of those who have left one who is still in can attend to: of its window and, where causal, before it.

        Returns:
            Their indices among the E.
        """
        mask = self.mask
        reached = mask.flip(1).cummax(1).values.flip(1) if causal else mask.any(1, keepdim=True).expand_as(mask)
        return reached.flatten().index_select(0, self.left).nonzero().squeeze(1)


def pack(crowd: Crowd, heads: int, *, causal: bool, drop: bool, states: Tensor) -> Packing:
    """Line up the tokens that are still in, at least one.

    Args:
        drop: whether they attend among themselves alone.
        states: theirs, `[S, D]`.
    """
    if crowd.complete:
        everything = slice(0, len(crowd.staying))
        return Packing(heads, (Group(slice(0, crowd.windows), everything, everything, causal=causal),))
    window, position, device = crowd.staying // crowd.tokens, crowd.staying % crowd.tokens, crowd.staying.device
    counts = torch.bincount(window, minlength=crowd.windows)
    falling, order = counts.sort(descending=True, stable=True)
    sizes = [size for size in falling.tolist() if size]
    groups, first_slots = _groups(sizes, PRODUCTS_OF_A_CALL // (crowd.tokens * states.shape[1]))
    rank = torch.empty_like(order).index_copy_(0, order, torch.arange(crowd.windows, device=device))
    token = torch.arange(len(window), device=device)
    index_in_window = token - (counts.cumsum(0) - counts)[window]
    slot = torch.tensor(first_slots, device=device)[rank[window]] + index_in_window
    queries = slot.new_zeros(groups[-1].queries.stop).index_copy_(0, slot, token)
    if drop:
        groups = [replace(group, causal=True) if causal else _own_only(group, sizes, states) for group in groups]
        return Packing(heads, tuple(groups), queries, queries, slot)
    bias = _earlier_only(position.index_select(0, queries), crowd.tokens, states) if causal else None
    groups = [_to_windows(group, crowd.tokens, bias) for group in groups]
    return Packing(heads, tuple(groups), queries, _key_rows(crowd, rank, len(sizes)), slot)


def _key_rows(crowd: Crowd, rank: Tensor, windows: int) -> Tensor:
    """Which of the S + E tokens is at each place of the W windows, in the order of their ranks; the first for none."""
    place = torch.cat((crowd.staying, crowd.left))
    row = rank[place // crowd.tokens] * crowd.tokens + place % crowd.tokens
    rows = row.new_zeros(windows * crowd.tokens)
    return rows.index_copy_(0, row, torch.arange(len(row), device=row.device))


def _groups(sizes: Sequence[int], queries_of_a_call: int) -> tuple[list[Group], list[int]]:
    """Cut windows with that many tokens each, in falling order, into groups; and each window's first padded query."""
    groups, first_slots, slots = list[Group](), list[int](), 0
    for start, stop in pairwise((0, *_cuts(sizes, queries_of_a_call))):
        queries = slice(slots, slots + sizes[start] * (stop - start))
        groups.append(Group(slice(start, stop), queries, queries))
        first_slots += range(queries.start, queries.stop, sizes[start])
        slots = queries.stop
    return groups, first_slots


def _cuts(sizes: Sequence[int], queries_of_a_call: int) -> Iterator[int]:
    """Where groups end: a new one begins where it saves more padding than its call costs."""
    width = sizes[0]
    for index, size in enumerate(sizes):
        if (width - size) * (len(sizes) - index) > queries_of_a_call:
            yield index
            width = size
    yield len(sizes)


def _to_windows(group: Group, tokens: int, bias: Tensor | None) -> Group:
    """The group, attending to whole windows; of the bias of all padded queries `[P, T]` it takes its own."""
    keys = slice(group.windows.start * tokens, group.windows.stop * tokens)
    own = None if bias is None else bias[group.queries].view(group.count, 1, -1, tokens)
    return replace(group, keys=keys, bias=own)


def _earlier_only(position: Tensor, tokens: int, states: Tensor) -> Tensor:
    """Added to the scores of padded queries at those positions, `[P, T]`: they attend to earlier ones and their own."""
    return _closed(torch.arange(tokens, device=position.device) > position[:, None], states)


def _own_only(group: Group, sizes: Sequence[int], states: Tensor) -> Group:
    """The group, nobody attending to its padding."""
    own = torch.tensor(sizes[group.windows], device=states.device)[:, None]
    padding = torch.arange(sizes[group.windows.start], device=states.device) >= own
    return replace(group, bias=_closed(padding[:, None, None], states))


def _closed(shut: Tensor, states: Tensor) -> Tensor:
    """Added to scores: nothing, or what closes them where the mask says so."""
    return states.new_zeros(shut.shape).masked_fill_(shut, -torch.inf)
