"""Tiny pretrained models of every architecture, made from a configuration and saved as transformers saves them."""

from pathlib import Path
from typing import Any

import torch

WORDS = [f"w{number}" for number in range(20)]
LAYERS, VOCABULARY = 3, 37

_LIKE_LLAMA = {
    "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64,
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 24, "n_head": 4, "n_layer": LAYERS, "n_positions": 64},
    "gpt_neox": {
        "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
        "max_position_embeddings": 64, "hidden_dropout": 0.0, "attention_dropout": 0.0,
    },
    "mistral": _LIKE_LLAMA | {"sliding_window": 5},
    "gemma3_text": _LIKE_LLAMA | {"sliding_window": 5, "query_pre_attn_scalar": 8},
    "smollm3": _LIKE_LLAMA | {"no_rope_layers": [1, 0, 1]},
}  # fmt: skip


def tiny_model(model_type: str, **changes: Any) -> Any:
    """Build a model with random weights, large enough for its predictions to differ between tokens."""
    from transformers import AutoConfig, AutoModelForCausalLM

    special = {"bos_token_id": 0, "eos_token_id": None, "pad_token_id": 1, "tie_word_embeddings": False}
    shape = SHAPES.get(model_type, _LIKE_LLAMA) | {"vocab_size": VOCABULARY, **special, **changes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(model_type, **shape), attn_implementation="sdpa", dtype=torch.float32
        )
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight) * (0.3 if weight.dim() > 1 else 0.05))
    return model.eval()


def save_tiny(folder: Path, model_type: str = "llama", bos_token: str | None = None, **changes: Any) -> Path:
    """Save a tiny model with a tokenizer of whole words, of which one may stand for the beginning of a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tiny_model(model_type, **changes).save_pretrained(folder)
    words = {word: number for number, word in enumerate(["<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token=bos_token).save_pretrained(folder)
    return folder
