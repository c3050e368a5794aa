"""The model of a run: one of our own, or a pretrained one."""

from core.config.run_config import RunConfig
from core.model import Transformer, new_model


def build_model(config: RunConfig, vocab_size: int) -> Transformer:
    """Build the model that a run starts with, on the CPU; `config` is resolved.

    Raises:
        ConfigError: a pretrained model can't be loaded, or is no longer what the config names.
    """
    if not config.model.pretrained:
        return new_model(config, vocab_size)
    from core.backbones.model import load_pretrained

    return load_pretrained(config)
