"""Load a pretrained model: its dimensions from its configuration, then, if there is memory for it, its weights."""

from collections.abc import Mapping
from contextlib import redirect_stderr
from copy import deepcopy
from io import StringIO
from typing import Any

import torch

from core.backbones.families import family_of
from core.backbones.families._contract import Dimensions, Family
from core.errors import ConfigError
from core.machine.free_memory import free_memory, total_memory
from core.pretrained.library import transformers
from core.pretrained.place import Place
from core.pretrained.settings import read_settings
from core.pretrained.unreadable import unreadable

GGUF_BYTES = 4
"""Bytes that a weight of a GGUF file takes while it is unpacked, before it has the dtype asked for."""


def read_dimensions(place: Place) -> tuple[Family, Dimensions]:
    """Return a model's family and dimensions, without loading its weights.

    Raises:
        ConfigError: its architecture is not supported.
    """
    settings = read_settings(place)
    family = family_of(settings.model_type, place.source)
    try:
        return family, family.dimensions(settings)
    except ValueError as error:
        raise ConfigError(f"model {place.source} {error}") from error


def load_weights(place: Place, dimensions: Dimensions, dtype: str) -> Any:
    """Load transformers' own model, with its head, on the CPU, in evaluation mode.

    Raises:
        ConfigError: the memory is too small, the weights can't be read, or some are missing.
    """
    _require_memory(place, dimensions, dtype)
    try:
        settings = deepcopy(read_settings(place))  # to read a GGUF file's again takes seconds
        with redirect_stderr(StringIO()):  # bars of unpacking, which no setting turns off
            model, report = transformers().AutoModelForCausalLM.from_pretrained(
                place.folder,
                config=settings,
                dtype=getattr(torch, dtype),
                attn_implementation="sdpa",
                ignore_mismatched_sizes=True,  # told below, by name
                output_loading_info=True,
                **place.options,
            )
    except Exception as error:  # the library lets through whatever its parsers raise
        raise unreadable(place, "the weights", error) from error
    _require_all(place, report)
    return model.requires_grad_(False).eval()


def _require_all(place: Place, report: Mapping[str, Any]) -> None:
    """Refuse a model some of whose weights the library has made up, as the files have none that fit."""
    missing = sorted(report["missing_keys"])
    wrong = sorted(name for name, *_ in report["mismatched_keys"])
    if missing or wrong:
        how = "missing" if missing else "of another shape than its configuration says"
        raise ConfigError(
            f"the weights of model {place.source} do not make a whole model: {(missing or wrong)[0]} is {how}"
            f"{_and_more(len(missing or wrong) - 1)}; fetch the model again"
        )


def _and_more(others: int) -> str:
    return f", and {others} more" if others else ""


def parameters(dimensions: Dimensions) -> int:
    """Count the weights of a model's matrices: layers, embedding and head."""
    heads, keys = dimensions.num_heads * dimensions.head_dim, dimensions.num_kv_heads * dimensions.head_dim
    feed_forward = (3 if dimensions.ffn == "gated" else 2) * dimensions.ffn_dim
    layer = dimensions.dim * (2 * heads + 2 * keys + feed_forward)
    return dimensions.layers * layer + (2 - dimensions.tied) * dimensions.vocab_size * dimensions.dim


def needed_memory(place: Place, dimensions: Dimensions, dtype: str) -> int:
    """Return the bytes that loading a model takes at most: its weights and, of another dtype, the head in float32."""
    size = torch.finfo(getattr(torch, dtype)).bits // 8
    unpacked = max(size, GGUF_BYTES) if place.gguf else size
    head = 0 if dtype == "float32" else 4 * dimensions.vocab_size * dimensions.dim
    return parameters(dimensions) * unpacked + head


def _require_memory(place: Place, dimensions: Dimensions, dtype: str) -> None:
    needed, free = needed_memory(place, dimensions, dtype), free_memory()
    if free is None:
        free = total_memory()
    if free is not None and needed > free:
        raise ConfigError(
            f"model {place.source} has {parameters(dimensions) / 1e6:,.0f} million weights, {needed / 1e9:,.1f} GB in "
            f"{dtype}, and {free / 1e9:,.1f} GB of memory are free: take machine.dtype=bfloat16, a smaller model, or "
            f"another machine"
        )
