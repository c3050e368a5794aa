"""Llama and its kin: rotary positions, RMSNorm before each branch, gated feed-forward, separate projections."""

from typing import Any

from torch import Tensor, nn

from core.backbones.families._contract import Dimensions, Family, in_heads, rotate


class Llama(Family):
    """Llama, SmolLM (1 and 2 are Llama's), Mistral, Qwen 2 and 3, Gemma 1 and 3."""

    model_types = ("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma", "gemma3_text")

    def dimensions(self, settings: Any) -> Dimensions:
        for cap in ("final_logit_softcapping", "attn_logit_softcapping"):
            if getattr(settings, cap, None):
                raise ValueError(f"caps its logits ({cap}), which exits can't")
        return Dimensions(
            layers=settings.num_hidden_layers,
            dim=settings.hidden_size,
            num_heads=settings.num_attention_heads,
            num_kv_heads=settings.num_key_value_heads,
            head_dim=getattr(settings, "head_dim", None) or settings.hidden_size // settings.num_attention_heads,
            ffn_dim=settings.intermediate_size,
            ffn="gated",
            max_seq_len=settings.max_position_embeddings,
            eps=settings.rms_norm_eps,
            vocab_size=settings.vocab_size,
            windows=_windows(settings),
            tied=settings.tie_word_embeddings,
        )

    def body(self, model: Any) -> Any:
        return model.model

    def layers(self, body: Any) -> nn.ModuleList:
        layers: nn.ModuleList = body.layers
        return layers

    def final_norm(self, body: Any) -> nn.Module:
        norm: nn.Module = body.norm
        return norm

    def embed(self, body: Any, token_ids: Tensor, positions: Tensor) -> Tensor:
        states: Tensor = body.embed_tokens(token_ids)
        return states

    def layer_inputs(self, body: Any, states: Tensor, positions: Tensor) -> list[dict[str, Any]]:
        kinds = getattr(body.config, "layer_types", None) or ["full_attention"] * len(body.layers)
        if body.config.model_type != "gemma3_text":
            turned = body.rotary_emb(states, position_ids=positions)
            angles = dict.fromkeys(kinds, turned)
        else:  # its local layers turn faster
            angles = {kind: body.rotary_emb(states, positions, kind) for kind in set(kinds)}
        return [{"position_embeddings": angles[kind], "position_ids": positions} for kind in kinds]

    def keys_values(self, layer: Any, states: Tensor, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        attention, read = layer.self_attn, layer.input_layernorm(states)
        keys, values = (
            in_heads(projection(read), attention.head_dim) for projection in (attention.k_proj, attention.v_proj)
        )
        if hasattr(attention, "k_norm"):
            keys = attention.k_norm(keys)
        if getattr(attention, "use_rope", True):
            keys = rotate(keys, *inputs["position_embeddings"])
        return keys, values


def _windows(settings: Any) -> tuple[int | None, ...]:
    """Read how far each layer sees; Mistral has one window for all layers, others mark the layers that have it."""
    window: int | None = getattr(settings, "sliding_window", None)
    kinds = getattr(settings, "layer_types", None)
    if kinds is None:
        return (window,) * int(settings.num_hidden_layers)
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)


FAMILY = Llama()
