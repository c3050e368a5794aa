"""Training of a pretrained backbone together with its exits, by LayerSkip's recipe (`core.config.layerskip`).

All weights of the model learn: embedding, layers, the norm and the head that exits share, and readouts of their own.
Weights and their moments are float32; with `machine.dtype=bfloat16` layers compute under autocast, and are cast once
the training has ended.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

from torch import Tensor

from core import costs
from core.backbones.model import PretrainedModel
from core.config.derived import Shares
from core.config.layerskip import dropout_rates, mean_predictions, shares_in
from core.stages.trainer import Trainer, Weights

HEAD = "head.weight"


class BackboneTrainer(Trainer):
    """Trains all weights of a pretrained model, with layer dropout and losses at the exits that are on."""

    def weights(self) -> Weights:
        """Return a copy of the trained weights, and of the head where it is the embedding too.

        A model that is used in another dtype has the head in float32, and thus by itself.
        """
        return super().weights() | {HEAD: self.model.head.weight.detach().clone()}

    def _learning(self) -> Iterator[Tensor]:
        yield from self._backbone.learning_weights()

    def _shares_in_step(self) -> Shares:
        return shares_in(self.config, self.taken, self._all_steps)

    def _dropping(self, rows: tuple[int, slice]) -> AbstractContextManager[None]:
        layers = sum(self.config.model.block_layers)
        rates = dropout_rates(self.config.train, layers, self.taken, self._all_steps)
        return self._backbone.dropping_layers(rates, self.dropout, rows)

    @property
    def _all_steps(self) -> int:
        return self.steps * self.config.train.max_epochs

    @property
    def _backbone(self) -> PretrainedModel:
        assert isinstance(self.model, PretrainedModel), "models of our own have no other training"
        return self.model

    def _step_flops(self) -> costs.StepFlops:
        """Count the FLOPs of a step in which no layer is dropped, with the mean number of exits."""
        model = self.config.model
        found = costs.step_flops(
            model,
            self.shares,
            mean_predictions(self.config),
            vocab_size=len(self.model.head.weight),
            seq_len=self.data.targets.shape[1],
            input_learns=True,
            head_learns=True,
            fits_classifier=False,
        )
        return replace(found, head=found.head + costs.TRAINING * costs.readout_flops(model, 0))
