"""The configuration that a pretrained model is stored with."""

from functools import cache
from typing import Any

from core.errors import ConfigError
from core.pretrained.library import transformers
from core.pretrained.place import Place
from core.pretrained.unreadable import unreadable


@cache
def read_settings(place: Place) -> Any:
    """Read a model's configuration, transformers' own object.

    Raises:
        ConfigError: it can't be read.
    """
    try:
        return transformers().AutoConfig.from_pretrained(place.folder, **place.options)
    except ConfigError:
        raise
    except Exception as error:  # the library lets through whatever its parsers raise
        raise unreadable(place, "the configuration", error) from error


def vocabulary_size(place: Place) -> int:
    """Return the number of tokens that a model predicts."""
    size: int = read_settings(place).get_text_config(decoder=True).vocab_size
    return size
