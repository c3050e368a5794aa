"""The pretrained model that a run trained on (`train.backbone=all`), as transformers' own model."""

from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from core.backbones.load import load_weights, read_dimensions
from core.backbones.model import PretrainedModel
from core.backbones.readouts import Readout
from core.config.run_config import RunConfig
from core.pretrained.library import transformers
from core.pretrained.place import find


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """Transformers' model with the trained weights, float32 on the CPU, and the tokenizer of the model it was before.

    With readout `final` its norm and head read every exit, as those of LayerSkip's checkpoints do.
    """

    causal_lm: Any
    tokenizer: Any

    def save(self, folder: Path) -> None:
        """Write both to a new folder as transformers does.

        Raises:
            OSError: it can't be written.
        """
        try:
            with redirect_stderr(StringIO()):  # bars of writing, which no setting turns off
                self.causal_lm.save_pretrained(folder)
                self.tokenizer.save_pretrained(folder)
        except OSError:
            raise
        except Exception as error:  # safetensors raises its own, which derive from Exception only
            raise OSError(str(error)) from error


def trained_model(config: RunConfig, weights: Mapping[str, Tensor]) -> TrainedModel:
    """Build the model that a run trained on.

    Args:
        config: resolved.
        weights: all that the run trained, by names in the model (`trained_weights`).

    Raises:
        ConfigError: the model that it was before is gone or has changed, or the memory is too small.
    """
    place = find(config.model.source)
    family, dimensions = read_dimensions(place)
    causal_lm = load_weights(place, dimensions, "float32")
    model = PretrainedModel(causal_lm, family, dimensions, config.model)
    model.load_state_dict(
        {name: weight for name, weight in weights.items() if not name.startswith("classifiers.")}, strict=False
    )
    last = cast(Readout, model.readouts[-1])
    family.final_norm(model.body).load_state_dict(last.norm.state_dict())
    causal_lm.config._attn_implementation = "sdpa"  # not ours, which nobody else knows
    return TrainedModel(causal_lm, transformers().AutoTokenizer.from_pretrained(place.folder, **place.options))
