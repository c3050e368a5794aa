"""Tokens that generation reads at once, on their way through the model, and those whose way is put off.

Shapes: D model width; R tokens that run through a block, E tokens that left before it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from core.early_exit.cached_blocks import AnyCachedBlock
from core.model import RUNS_THROUGH, ExitedState


@dataclass
class Reading:
    """Tokens that are read at once, on their way through the model.

    Attributes:
        states, position: states and positions of the tokens that run through the blocks, `[R, D]` and `[R]`.
        active: mask of the active ones, bool `[R]`; exited ones run through under `input` and `deferred`.
        exited, exited_position: inputs of the exited tokens' keys and values, `[E, D]`, and their positions, `[E]`.
    """

    states: Tensor
    position: Tensor
    active: Tensor
    exited: Tensor
    exited_position: Tensor

    @staticmethod
    def all_active(states: Tensor, position: Tensor) -> "Reading":
        """Return a reading in which no token has left."""
        return Reading(states, position, torch.ones_like(position, dtype=torch.bool), states[:0], position[:0])

    def stay(self, entered: Tensor, exited_state: ExitedState) -> None:
        """Let no token leave after a block; under `input` those that left before keep the states that they had.

        Args:
            entered: as in `exit`.
        """
        if exited_state == "input":
            self.states = torch.where(self.active[:, None], self.states, entered)

    def exit(self, leaves: Tensor, entered: Tensor, exited_state: ExitedState, block: AnyCachedBlock) -> None:
        """Let active tokens leave after a block.

        Args:
            leaves: mask among the active tokens, bool.
            entered: the states that entered the block, `[R, D]`.
        """
        staying = self.active.masked_scatter(self.active, ~leaves)  # [R]
        if exited_state in RUNS_THROUGH:
            self.active = staying
            self.stay(entered, exited_state)
            return
        if exited_state != "drop":
            self.exited = torch.cat((self.exited, block.exited_input(self.states[~staying])))
            self.exited_position = torch.cat((self.exited_position, self.position[~staying]))
        self.states, self.position, self.active = self.states[staying], self.position[staying], staying[staying]


class Deferred:
    """States of tokens that left before a block, until a token that goes deeper needs their keys and values there.

    They then run through the block in one batch with that token, as exact as if they had never left (Chen et al. 2024,
    "EE-LLM", KV recomputation). Tokens that no deeper one follows never do. As a token needs all those before it, the
    tokens that have run through a block are always a beginning of the text.
    """

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self.clear()

    def clear(self) -> None:
        """Forget them all: a new window begins."""
        self.waiting: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(self.blocks)]

    def enter(self, block: int, reading: Reading) -> bool:
        """Let those run through a block that active tokens need, and keep the others; return whether any does."""
        arrived = reading.active.nonzero().flatten().tolist()
        end = arrived[-1] + 1 if arrived else 0
        late = [(reading.states[end:], reading.position[end:])]
        if not end:
            self.waiting[block] += late
            return False
        before, self.waiting[block] = self.waiting[block], late
        states, positions = ([part[kind] for part in before] for kind in (0, 1))
        none = torch.zeros(sum(map(len, positions)), dtype=torch.bool, device=reading.active.device)
        reading.states = torch.cat((*states, reading.states[:end]))
        reading.position = torch.cat((*positions, reading.position[:end]))
        reading.active = torch.cat((none, reading.active[:end]))
        return True
