"""Attention of the active tokens only, where windows have kept different numbers of them.

Windows are sorted by those numbers and cut into groups of near-equal ones. Each group is one call of fused attention,
its queries padded to the largest number in the group: the work shrinks with the active tokens, and few queries are
padding. A padded query repeats some token; its output is discarded.

Shapes: B windows, T tokens of a window, D model width, H heads; S active tokens, E exited tokens that are attended to,
W windows with an active token, P padded queries, R padded keys.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

MULTIPLIES_OF_A_CALL = 2**17
"""Queries × keys × width that take as long as one more call of fused attention, about 25 µs on one CPU core."""


@dataclass(frozen=True)
class Group:
    """Windows that attend in one call, neighbours in the order of their active tokens.

    Attributes:
        windows: range among the W windows.
        queries, keys: ranges among the P and the R.
        bias: term added to the attention scores, broadcast to `[windows, heads, queries, keys]`; None: nothing.
        causal: whether queries and keys are the same tokens, each attending to itself and earlier ones.
    """

    windows: slice
    queries: slice
    keys: slice
    bias: Tensor | None = None
    causal: bool = False

    @property
    def count(self) -> int:
        """Number of windows."""
        return len(range(self.windows.start, self.windows.stop))


@dataclass(frozen=True)
class Packing:
    """Index maps between tokens and the padded layout of attention.

    Attributes:
        queries: index among the S tokens of each padded query, `[P]`; None: identity.
        keys: index among the S + E tokens of each padded key, `[R]`; None: identity.
        slot: index among the P of each of the S tokens; None: identity.
    """

    heads: int
    groups: tuple[Group, ...]
    queries: Tensor | None = None
    keys: Tensor | None = None
    slot: Tensor | None = None

    def attend(self, query: Tensor, keys_values: Tensor) -> Tensor:
        """Attend, group by group: the heads' output of each active token, `[S, D]`.

        Args:
            query: rotated queries of the active tokens, `[S, D]`.
            keys_values: rotated keys and values, of the active tokens first, then of the exited ones, `[S + E, 2D]`.
        """
        queries, keys_values = _select(query, self.queries), _select(keys_values, self.keys)  # [P, D], [R, 2D]
        parts = [self._attend(group, queries, keys_values) for group in self.groups]
        return _select(parts[0] if len(parts) == 1 else torch.cat(parts), self.slot)

    def _attend(self, group: Group, queries: Tensor, keys_values: Tensor) -> Tensor:
        """Attend within one group: the output of its padded queries, `[windows · queries, D]`."""
        query = queries[group.queries].view(group.count, -1, self.heads, queries.shape[1] // self.heads)
        both = keys_values[group.keys].view(group.count, -1, 2, *query.shape[2:])  # [windows, keys, 2, H, D/H]
        key, value = both.permute(2, 0, 3, 1, 4).unbind()  # each [windows, H, keys, D/H]
        mixed = F.scaled_dot_product_attention(
            query.transpose(1, 2), key, value, attn_mask=group.bias, is_causal=group.causal
        )  # [windows, H, queries, D/H]
        return mixed.transpose(1, 2).reshape(-1, queries.shape[1])


def _select(rows: Tensor, indices: Tensor | None) -> Tensor:
    return rows if indices is None else rows.index_select(0, indices)


@dataclass(frozen=True)
class TokenPlaces:
    """Places `window × T + position` of a batch's active and exited tokens.

    Attributes:
        windows, tokens: B, T.
        active: places of the active tokens, in order, int64 `[S]`.
        exited: places of the exited tokens that are attended to, in any order, int64 `[E]`.
    """

    windows: int
    tokens: int
    active: Tensor
    exited: Tensor

    @staticmethod
    def all_active(token_ids: Tensor) -> "TokenPlaces":
        """Return the places of `token_ids [B, T]`, all active."""
        places = torch.arange(token_ids.numel(), device=token_ids.device)
        return TokenPlaces(len(token_ids), token_ids.shape[1], places, places[:0])

    @property
    def complete(self) -> bool:
        """Whether every token is active."""
        return len(self.active) == self.windows * self.tokens

    @property
    def mask(self) -> Tensor:
        """Mask of the active tokens, bool `[B, T]`."""
        mask = torch.zeros(self.windows * self.tokens, dtype=torch.bool, device=self.active.device)
        return mask.index_fill_(0, self.active, True).view(self.windows, self.tokens)

    def exit(self, leaving: Tensor, remaining: Tensor) -> "TokenPlaces":
        """Return the places after some active tokens left; both arguments are indices among the S."""
        exited = torch.cat((self.exited, self.active.index_select(0, leaving)))
        return replace(self, active=self.active.index_select(0, remaining), exited=exited)

    def keep_exited(self, indices: Tensor) -> "TokenPlaces":
        """Return the places with only these exited tokens, by their indices among the E."""
        return replace(self, exited=self.exited.index_select(0, indices))

    def keep_active(self, indices: Tensor) -> "TokenPlaces":
        """Return the places with only these active tokens, by their indices among the S."""
        return replace(self, active=self.active.index_select(0, indices))

    def attended(self, *, causal: bool) -> Tensor:
        """Indices of exited tokens that an active token can still attend to, among the E."""
        attended = in_reach(self.mask, causal=causal)
        return attended.flatten().index_select(0, self.exited).nonzero().squeeze(1)


def pack(places: TokenPlaces, heads: int, *, causal: bool, drop: bool, states: Tensor) -> Packing:
    """Lay out the active tokens, at least one, for attention.

    Args:
        drop: whether active tokens attend to active tokens only.
        states: states of the active tokens, `[S, D]`.
    """
    if places.complete:
        everything = slice(0, len(places.active))
        return Packing(heads, (Group(slice(0, places.windows), everything, everything, causal=causal),))
    window, position = places.active // places.tokens, places.active % places.tokens  # [S], [S]
    device = places.active.device
    counts = torch.bincount(window, minlength=places.windows)  # active tokens of each window, [B]
    falling, order = counts.sort(descending=True, stable=True)  # [B], [B]
    sizes = [size for size in falling.tolist() if size]
    groups, first_slots = _groups(sizes, MULTIPLIES_OF_A_CALL // (places.tokens * states.shape[1]))
    rank = torch.empty_like(order).index_copy_(0, order, torch.arange(places.windows, device=device))  # [B]
    token = torch.arange(len(window), device=device)  # [S]
    index_in_window = token - (counts.cumsum(0) - counts)[window]  # [S]
    slot = torch.tensor(first_slots, device=device)[rank[window]] + index_in_window  # [S], among the P
    queries = slot.new_zeros(groups[-1].queries.stop).index_copy_(0, slot, token)  # [P]; padding repeats token 0
    if drop:
        groups = [replace(group, causal=True) if causal else _mask_padding(group, sizes, states) for group in groups]
        return Packing(heads, tuple(groups), queries, queries, slot)
    bias = _causal_bias(position.index_select(0, queries), places.tokens, states) if causal else None  # [P, T]
    groups = [_attend_windows(group, places.tokens, bias) for group in groups]
    return Packing(heads, tuple(groups), queries, _key_indices(places, rank, len(sizes)), slot)


def _key_indices(places: TokenPlaces, rank: Tensor, windows: int) -> Tensor:
    """Index among the S + E of the token at each place of the W windows in rank order, `[W · T]`; 0 where none is."""
    place = torch.cat((places.active, places.exited))  # [S + E]
    row = rank[place // places.tokens] * places.tokens + place % places.tokens  # [S + E]
    rows = row.new_zeros(windows * places.tokens)
    return rows.index_copy_(0, row, torch.arange(len(row), device=row.device))


def _groups(sizes: Sequence[int], queries_of_a_call: int) -> tuple[list[Group], list[int]]:
    """Cut windows into groups; return these and the first padded query of each window.

    Args:
        sizes: active tokens of each window, in falling order.
        queries_of_a_call: padded queries that cost as much as one more call.
    """
    groups, first_slots, slots = list[Group](), list[int](), 0
    for start, stop in pairwise((0, *_cuts(sizes, queries_of_a_call))):
        queries = slice(slots, slots + sizes[start] * (stop - start))
        groups.append(Group(slice(start, stop), queries, queries))
        first_slots += range(queries.start, queries.stop, sizes[start])
        slots = queries.stop
    return groups, first_slots


def _cuts(sizes: Sequence[int], queries_of_a_call: int) -> Iterator[int]:
    """Yield where groups end: a new one begins where it saves more padding than its call costs."""
    width = sizes[0]
    for index, size in enumerate(sizes):
        if (width - size) * (len(sizes) - index) > queries_of_a_call:
            yield index
            width = size
    yield len(sizes)


def _attend_windows(group: Group, tokens: int, bias: Tensor | None) -> Group:
    """Return the group with whole windows as keys, and its own rows of the bias of all padded queries `[P, T]`."""
    keys = slice(group.windows.start * tokens, group.windows.stop * tokens)
    own = None if bias is None else bias[group.queries].view(group.count, 1, -1, tokens)
    return replace(group, keys=keys, bias=own)


def _causal_bias(position: Tensor, tokens: int, states: Tensor) -> Tensor:
    """Bias that lets queries at those positions attend to earlier positions and their own, `[P]` to `[P, T]`."""
    return _closing_bias(torch.arange(tokens, device=position.device) > position[:, None], states)


def _mask_padding(group: Group, sizes: Sequence[int], states: Tensor) -> Group:
    """Return the group with a bias under which nothing attends to its padding."""
    own = torch.tensor(sizes[group.windows], device=states.device)[:, None]  # [windows, 1]
    padding = torch.arange(sizes[group.windows.start], device=states.device) >= own  # [windows, queries]
    return replace(group, bias=_closing_bias(padding[:, None, None], states))


def _closing_bias(closed: Tensor, states: Tensor) -> Tensor:
    """Bias of −∞ where the mask is true, 0 elsewhere."""
    return states.new_zeros(closed.shape).masked_fill_(closed, -torch.inf)


def in_reach(active: Tensor, *, causal: bool) -> Tensor:
    """Return the mask of the tokens that an active one can attend to, itself included, bool `[B, T]`."""
    return furthest(active, causal=causal)


def furthest(values: Tensor, *, causal: bool) -> Tensor:
    """Return the largest value of each token and those that can attend to it, `[B, T]`."""
    return values.flip(1).cummax(1).values.flip(1) if causal else values.amax(1, keepdim=True).expand_as(values)
