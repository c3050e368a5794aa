"""The library transformers: an optional extra, imported when a pretrained model is asked for."""

import importlib
from functools import cache
from typing import Any

from core.errors import ConfigError


@cache
def transformers() -> Any:
    """Import transformers, kept off the terminal: no bars, no log lines.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        library: Any = importlib.import_module("transformers")
        hub: Any = importlib.import_module("huggingface_hub.utils")
    except ImportError as error:
        raise ConfigError(
            f"a pretrained model needs the package transformers ({error}): pip install 'eetui[hf]'"
        ) from (error)
    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    hub.disable_progress_bars()
    return library
