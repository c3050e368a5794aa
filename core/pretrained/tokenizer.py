"""The tokenizer that comes with a pretrained model."""

from functools import cache
from typing import Any

from core.errors import ConfigError
from core.pretrained.library import transformers
from core.pretrained.place import Place, find
from core.pretrained.settings import vocabulary_size
from core.pretrained.unreadable import unreadable

VOCABULARY_FILES = ("tokenizer.json", "vocab.*", "tekken.json", "*.model")
"""What a folder's tokenizer has its tokens from. Of some architectures the library makes an empty one where none is."""


def load_tokenizer(source: str) -> tuple[Any, int, int | None]:
    """Load the tokenizer of a reference, and the number of tokens that the model predicts, which may be larger.

    Returns:
        A `tokenizers.Tokenizer`, the size, and the token for the beginning of a text, if there is one.

    Raises:
        ConfigError: there is none, or it has tokens that the model does not know.
    """
    return _load(find(source))


@cache
def _load(place: Place) -> tuple[Any, int, int | None]:
    if not place.gguf and not any(any(place.folder.glob(pattern)) for pattern in VOCABULARY_FILES):
        raise ConfigError(
            f"model {place.source} has no tokenizer: {place.folder} holds none of {', '.join(VOCABULARY_FILES)}; copy "
            f"there what the model was published with"
        )
    try:
        loaded = transformers().AutoTokenizer.from_pretrained(place.folder, **place.options)
        tokenizer = loaded.backend_tokenizer
    except Exception as error:  # the library lets through whatever its parsers raise
        raise unreadable(place, "the tokenizer", error) from error
    size, largest = vocabulary_size(place), max(tokenizer.get_vocab(with_added_tokens=False).values(), default=-1)
    if largest >= size:
        raise ConfigError(
            f"model {place.source} has the tokenizer of another model: it has tokens up to number {largest}, and the "
            f"model knows {size}; restore the tokenizer that the model was trained with"
        )
    return tokenizer, size, loaded.bos_token_id
