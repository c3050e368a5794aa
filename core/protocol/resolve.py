"""Replace every `auto` of a config by what it stands for on this machine."""

import os
from collections.abc import Callable, Sequence
from functools import cache

import torch

from core.config.run_config import RunConfig
from core.config.sections import DataConfig
from core.data.corpora import require_files
from core.data.readers._contract import VocabularyName
from core.data.tokenizers import resolve_tokenizer
from core.errors import ConfigError
from core.exits import exit_method
from core.extensions.imported import no_model
from core.machine.cores import Cores, read_cores
from core.machine.thread_count import ThreadChoice, choose, needed, startable

OWN_THREADS = torch.get_num_threads()
"""What torch chose for itself; asked later, it tells what somebody last set."""
SET_BY_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables of the environment that torch takes its number from."""


def resolve(config: RunConfig) -> RunConfig:
    """Replace every `auto` of a config by what it stands for on this machine.

    Raises:
        ConfigError: the device asked for is not there, or the exit method is a plug-in that is no good.
    """
    (resolved,), _ = resolve_all([config])
    return resolved


def resolve_all(configs: Sequence[RunConfig]) -> tuple[tuple[RunConfig, ...], str]:
    """Resolve an experiment's configs, with one number of threads where it is left open; and a remark on it, if any.

    Raises:
        ConfigError: a device asked for is not there, an exit method is a plug-in that is no good, or a pretrained model
            can't be used.
        CorpusError: there is no file for a pretrained model to read.
    """
    left_open = any(not config.machine.threads for config in configs)
    choice = choose_threads() if left_open else ThreadChoice(0)
    tokenizer = cache(resolve_tokenizer)  # looks through all packages, for every run of a sweep
    return tuple(_resolved(config, choice.threads, tokenizer) for config in configs), choice.remark


def choose_threads() -> ThreadChoice:
    """Choose the number of threads that `auto` stands for now: the user's, else as many as the machine has free."""
    if OWN_THREADS == 1:
        return ThreadChoice(1)
    asked_for = any(os.environ.get(name) for name in SET_BY_USER)
    cores = Cores(OWN_THREADS) if asked_for else read_cores()
    return choose(OWN_THREADS, cores, startable(needed(OWN_THREADS)))


def _resolved(config: RunConfig, threads: int, tokenizer: Callable[[DataConfig, str], VocabularyName]) -> RunConfig:
    if config.model.imported:
        raise ConfigError(no_model("a run on imported numbers", "be trained"))
    exit_method(config.method)
    machine = config.machine.model_copy(
        update={
            "device": resolve_device(config.machine.device),
            "threads": config.machine.threads or threads,
        }
    )
    data = config.data.model_copy(update={"tokenizer": tokenizer(config.data, config.model.source)})
    config = config.model_copy(update={"machine": machine, "data": data})
    if not config.model.pretrained:
        return config
    require_files(config.data)  # reading the configuration of a GGUF file takes seconds
    from core.backbones.model import resolved  # with it comes transformers

    return resolved(config)


def resolve_device(name: str) -> str:
    """Return the device that a name stands for here.

    Raises:
        ConfigError: it is not there.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind = torch.device(name).type
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}[kind]
    if not available or (kind == "cuda" and (torch.device(name).index or 0) >= torch.cuda.device_count()):
        raise ConfigError(f"machine.device {name} is not available on this machine; take auto or cpu")
    return name
