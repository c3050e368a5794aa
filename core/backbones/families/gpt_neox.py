"""GPT-NeoX, of which Pythia is: partly rotary positions, attention and feed-forward side by side."""

from typing import Any

from torch import Tensor, nn

from core.backbones.families._contract import Dimensions, Family, in_heads, rotate


class GptNeoX(Family):
    """Pythia, GPT-NeoX."""

    model_types = ("gpt_neox",)
    cache_argument = "layer_past"

    def dimensions(self, settings: Any) -> Dimensions:
        return Dimensions(
            layers=settings.num_hidden_layers,
            dim=settings.hidden_size,
            num_heads=settings.num_attention_heads,
            num_kv_heads=settings.num_attention_heads,
            head_dim=settings.hidden_size // settings.num_attention_heads,
            ffn_dim=settings.intermediate_size,
            ffn="plain",
            max_seq_len=settings.max_position_embeddings,
            eps=settings.layer_norm_eps,
            vocab_size=settings.vocab_size,
            windows=(None,) * settings.num_hidden_layers,
            tied=settings.tie_word_embeddings,
        )

    def body(self, model: Any) -> Any:
        return model.gpt_neox

    def layers(self, body: Any) -> nn.ModuleList:
        layers: nn.ModuleList = body.layers
        return layers

    def final_norm(self, body: Any) -> nn.Module:
        norm: nn.Module = body.final_layer_norm
        return norm

    def embed(self, body: Any, token_ids: Tensor, positions: Tensor) -> Tensor:
        states: Tensor = body.embed_in(token_ids)
        return states

    def layer_inputs(self, body: Any, states: Tensor, positions: Tensor) -> list[dict[str, Any]]:
        angles = body.rotary_emb(states, position_ids=positions)
        return [{"position_embeddings": angles} for _ in body.layers]

    def keys_values(self, layer: Any, states: Tensor, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        attention = layer.attention
        together = in_heads(attention.query_key_value(layer.input_layernorm(states)), 3 * attention.head_size)
        _, keys, values = together.chunk(3, dim=-1)
        return rotate(keys, *inputs["position_embeddings"]), values


FAMILY = GptNeoX()
