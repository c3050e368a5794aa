"""Replace every `auto` of a config by what it stands for on this machine."""

import torch

from core.config.run_config import RunConfig
from core.data.tokenizers import resolve_tokenizer
from core.errors import ConfigError
from core.exits._load import exit_method

OWN_THREADS = torch.get_num_threads()
"""What torch chose for itself; asked later, it tells what somebody last set."""


def resolve(config: RunConfig) -> RunConfig:
    """The config with every `auto` replaced by what it stands for here.

    Raises:
        ConfigError: the device asked for is not there, or the exit method is a plug-in that is no good.
    """
    exit_method(config.method)
    machine = config.machine.model_copy(
        update={
            "device": _resolve_device(config.machine.device),
            "threads": config.machine.threads or OWN_THREADS,
        }
    )
    data = config.data.model_copy(update={"tokenizer": resolve_tokenizer(config.data)})
    return config.model_copy(update={"machine": machine, "data": data})


def _resolve_device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind = torch.device(name).type
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}[kind]
    if not available or (kind == "cuda" and (torch.device(name).index or 0) >= torch.cuda.device_count()):
        raise ConfigError(f"machine.device {name} is not available on this machine; take auto or cpu")
    return name
