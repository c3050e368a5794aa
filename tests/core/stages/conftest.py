"""A block that has run over its windows."""

import pytest

from core.config.run_config import RunConfig
from core.data.windows import Dataset
from core.model import Transformer
from core.stages.block_data import from_words
from core.stages.statistics import BlockOutput, block_output
from tests.core.training import WORDS, MakeConfig, result_of


@pytest.fixture
def output(tiny_config: MakeConfig, tiny_dataset: Dataset) -> tuple[Transformer, BlockOutput, RunConfig]:
    config = tiny_config(hard_ratio=0.4)
    model = Transformer(config.model, WORDS, config.seed)
    data = from_words(model, tiny_dataset.train.inputs, tiny_dataset.train.targets)
    return model, result_of(block_output(model, 0, data, config, "block0.statistics")), config
