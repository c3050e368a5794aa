"""GPT-2: learned positions, LayerNorm before each branch, one projection of queries, keys and values."""

from typing import Any

from torch import Tensor, nn

from core.backbones.families._contract import Dimensions, Family, in_heads


class Gpt2(Family):
    """GPT-2 and what has its architecture, such as DistilGPT-2."""

    model_types = ("gpt2",)

    def dimensions(self, settings: Any) -> Dimensions:
        if settings.add_cross_attention:
            raise ValueError("attends to another model's states (add_cross_attention)")
        return Dimensions(
            layers=settings.n_layer,
            dim=settings.n_embd,
            num_heads=settings.n_head,
            num_kv_heads=settings.n_head,
            head_dim=settings.n_embd // settings.n_head,
            ffn_dim=settings.n_inner or 4 * settings.n_embd,
            ffn="plain",
            max_seq_len=settings.n_positions,
            eps=settings.layer_norm_epsilon,
            vocab_size=settings.vocab_size,
            windows=(None,) * settings.n_layer,
            tied=settings.tie_word_embeddings,
        )

    def body(self, model: Any) -> Any:
        return model.transformer

    def layers(self, body: Any) -> nn.ModuleList:
        layers: nn.ModuleList = body.h
        return layers

    def final_norm(self, body: Any) -> nn.Module:
        norm: nn.Module = body.ln_f
        return norm

    def embed(self, body: Any, token_ids: Tensor, positions: Tensor) -> Tensor:
        states: Tensor = body.wte(token_ids) + body.wpe(positions)
        return states

    def layer_inputs(self, body: Any, states: Tensor, positions: Tensor) -> list[dict[str, Any]]:
        return [{} for _ in body.h]

    def keys_values(self, layer: Any, states: Tensor, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        attention = layer.attn
        _, keys, values = attention.c_attn(layer.ln_1(states)).split(attention.split_size, dim=-1)
        return in_heads(keys, attention.head_dim), in_heads(values, attention.head_dim)


FAMILY = Gpt2()
