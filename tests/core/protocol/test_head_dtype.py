"""The head's products in bfloat16: training takes them, measuring does not."""

from collections.abc import Callable

import pytest

from core.config.run_config import RunConfig
from core.data.windows import Dataset
from core.events import Epoch, Measured
from core.model import new_model
from core.protocol.train import first_data, train
from core.stages.lm import validation_loss

MakeConfig = Callable[..., RunConfig]


def losses(config: RunConfig, dataset: Dataset) -> tuple[list[float], list[float]]:
    """Of training and of what was measured."""
    events = list(train(config, dataset))
    return (
        [event.loss for event in events if isinstance(event, Epoch) and event.val_loss is not None],
        [event.loss for event in events if isinstance(event, Measured)],
    )


@pytest.mark.parametrize("values", [{}, {"tie_embedding": True, "train_embedding": True}, {"protocol": "joint"}])
def test_training_in_bfloat16_comes_close_to_and_is_not_training_in_float32(
    values: dict[str, object], tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    exact, rounded = (losses(tiny_config(head_dtype=head, **values), tiny_dataset) for head in ("same", "bfloat16"))
    for expected, found in zip(exact, rounded, strict=True):
        assert found == pytest.approx(expected, rel=0.02)
        assert found != expected


def test_the_same_config_gives_the_same_figures_in_bfloat16(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    config = tiny_config(head_dtype="bfloat16")
    assert losses(config, tiny_dataset) == losses(config, tiny_dataset)


def test_what_is_measured_of_the_same_weights_does_not_depend_on_it(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    found = set()
    for head in ("same", "bfloat16"):
        config = tiny_config(head_dtype=head)
        model = new_model(config, tiny_dataset.vocabulary.size)
        data = first_data(model, tiny_dataset.train, config).train
        windows = data.targets.new_tensor(range(len(data.targets)))
        found.add(validation_loss(model, {0: 1.0}, data, windows, config))
    assert len(found) == 1
