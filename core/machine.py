"""The machine a run computes on: device, threads, memory."""

import resource
import sys

import torch

from core.config import RunConfig
from core.data.tokenizers import resolve_tokenizer
from core.errors import ConfigError


def resolve(config: RunConfig) -> RunConfig:
    """The config with every `auto` replaced by what it stands for here.

    Raises:
        ConfigError: the device asked for is not there.
    """
    machine = config.machine.model_copy(
        update={
            "device": _resolve_device(config.machine.device),
            "threads": config.machine.threads or torch.get_num_threads(),
        }
    )
    data = config.data.model_copy(update={"tokenizer": resolve_tokenizer(config.data)})
    return config.model_copy(update={"machine": machine, "data": data})


def prepare(config: RunConfig) -> torch.device:
    """Set the thread count of a resolved config and return its device."""
    torch.set_num_threads(config.machine.threads)
    return torch.device(config.machine.device)


def peak_memory() -> int:
    """Largest resident size of this process so far, in bytes, as the operating system counts it."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _resolve_device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind = torch.device(name).type
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}[kind]
    if not available or (kind == "cuda" and (torch.device(name).index or 0) >= torch.cuda.device_count()):
        raise ConfigError(f"machine.device {name} is not available on this machine; take auto or cpu")
    return name
