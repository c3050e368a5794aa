"""The model of a run: one of our own, or a pretrained one."""

from core.config.run_config import RunConfig
from core.model import Transformer, new_model


def build_model(config: RunConfig, vocab_size: int, *, to_train: bool = False) -> Transformer:
    """Build the model that a run starts with, on the CPU; `config` is resolved.

    Args:
        to_train: whether a pretrained backbone is to be trained, where the config says so; else it is to be used.

    Raises:
        ConfigError: a pretrained model can't be loaded, or is no longer what the config names.
    """
    if not config.model.pretrained:
        return new_model(config, vocab_size)
    from core.backbones.model import load_pretrained

    return load_pretrained(config, to_train=to_train and config.train.backbone == "all")
