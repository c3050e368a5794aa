"""What a block says of its windows."""

import torch

from core.config.run_config import RunConfig
from core.data.windows import Dataset
from core.model import Transformer
from core.stages.statistics import BlockOutput


def test_a_block_s_output_is_that_of_its_forward_pass(
    output: tuple[Transformer, BlockOutput, RunConfig], tiny_dataset: Dataset
) -> None:
    model, found, _ = output
    with torch.no_grad():
        states = model.blocks[0](model.embedding(tiny_dataset.train.inputs))
        logits = model.head(states).flatten(0, 1)
    losses = torch.nn.functional.cross_entropy(logits, tiny_dataset.train.targets.flatten(), reduction="none")
    torch.testing.assert_close(found.states, states)
    torch.testing.assert_close(found.statistics.cross_entropy, losses)
    torch.testing.assert_close(found.statistics.max_prob, logits.softmax(1).max(1).values)
