"""The model card of an adapter: what it is, what it measured, and lines that load and use it.

The first lines need torch, transformers and safetensors only; they run the whole model, and say at which exit the next
token leaves. The second use eetui, which really skips.
"""

from collections.abc import Mapping
from textwrap import indent
from typing import Any

from core.analysis.adapter import SETTINGS_FILE, WEIGHTS_FILE, Adapter

PLAIN = """\
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

adapter, weights = json.loads(Path("{settings}").read_text()), load_file("{weights}")
base = adapter["base_model"]
place = {{key: base[key] for key in ("gguf_file", "revision") if base[key]}}
tokenizer = AutoTokenizer.from_pretrained(base["source"], **place)
model = AutoModelForCausalLM.from_pretrained(base["source"], dtype=getattr(torch, base["dtype"]), **place).eval()
norm = model.get_submodule("{norm}").float()
head = weights.get("head.weight", model.get_output_embeddings().weight.float())
model.set_submodule("{norm}", torch.nn.Identity())  # so that all states are those before the norm


def linear(name, x):
    return weights[f"{{name}}.weight"] @ x + weights[f"{{name}}.bias"]


tokens = adapter["texts_begin_with"] + tokenizer("The", add_special_tokens=False).input_ids
with torch.no_grad():
    states = [state[0, -1].float() for state in model(torch.tensor([tokens]), output_hidden_states=True).hidden_states]
    for block, layers in enumerate(adapter["layers"]):
        state = states[layers]
{readout}
        logits = weights.get(f"heads.{{block}}.weight", head) @ hidden
        if block == len(adapter["exits"]):
            break  # the last block has no exit
{signal}
        if signal >= adapter["exits"][block]["threshold"]:
            break
print(f"after {{layers}} layers: {{tokenizer.decode(logits.argmax())!r}}")
"""
READOUTS = {
    "affine": 'if f"readouts.{block}.linear.weight" in weights:\n'
    '    state = state + linear(f"readouts.{block}.linear", state)\n'
    "hidden = norm(state)",
    "mlp": 'if f"readouts.{block}.rise.weight" in weights:\n'
    '    inner = F.gelu(linear(f"readouts.{block}.rise", norm(state)))\n'
    '    state = state + linear(f"readouts.{block}.fall", inner)\n'
    "hidden = norm(state)",
    "norm": 'own = f"readouts.{block}.norm."\n'
    "trained = {name[len(own) :]: weight for name, weight in weights.items() if name.startswith(own)}\n"
    "hidden = torch.func.functional_call(norm, trained, state)",
}
"""Lines that read a block's state, by the kind of readout; others read it by the model's norm."""
SIGNALS = {
    "softmax": "signal = logits.softmax(-1).max()",
    "margin": "first, second = logits.softmax(-1).topk(2).values\nsignal = first - second",
    "entropy": "entropy = -(logits.softmax(-1) * logits.log_softmax(-1)).sum()\n"
    "signal = 1 - entropy / torch.tensor(float(len(logits))).log()",
    "saturation": 'entered = states[adapter["layers"][block - 1] if block else 0]\n'
    "signal = (1 + F.cosine_similarity(entered, states[layers], dim=0)) / 2",
    "gain": '{predicted}\nprices = predicted / torch.tensor(adapter["exits"][block]["saved"])\n'
    "signal = 0.5 - prices.max() / (2 + 2 * prices.max().abs())",
}
"""Lines that compute the exit signal, by method; others are the sigmoid of a classifier."""
CLASSIFIERS = {
    "linear": 'predicted = linear(f"classifiers.{block}.linear", hidden)',
    "mlp": 'inner = F.silu(linear(f"classifiers.{block}.hidden.0", hidden))\n'
    'predicted = linear(f"classifiers.{block}.linear", inner)',
}
UNKNOWN = "signal = 0  # computed by eetui alone"
"""Of methods that a few lines can't run: the user's own, and bounds."""
EETUI = """\
import eetui

generator = eetui.load_adapter(".")  # the path of this folder; base="…" where the model has moved
print("".join(piece.text for piece in generator.write("The")))
"""


def model_card(adapter: Adapter) -> str:
    """Write the model card, Markdown with the front matter that model hubs read."""
    settings = adapter.settings
    origin = settings["trained_from"] or settings["base_model"]
    base, on_hub = origin["source"], f"\nbase_model: {origin['source']}" if origin["on_hub"] else ""
    return f"""\
---
library_name: eetui
tags:
- early-exit
- {"trained" if settings["trained_from"] else "frozen"}-backbone{on_hub}
---

# {settings["method"]["name"]} exits on {base.rstrip("/").rpartition("/")[2]}

{_facts(settings)}

## Use

With torch, transformers and safetensors alone, run in this folder: where the next token leaves, and the token.

```python
{plain_lines(adapter).rstrip()}
```

With eetui, which skips the layers behind the exit and needs no database:

```python
{EETUI.rstrip()}
```
"""


def plain_lines(adapter: Adapter) -> str:
    """Return the lines that use an adapter without eetui."""
    settings = adapter.settings
    predicted = CLASSIFIERS[settings["method"]["classifier"]]
    learned = any(key.startswith("classifiers.") for key in adapter.weights)
    other = f"{predicted}\nsignal = predicted[0].sigmoid()" if learned else UNKNOWN
    signal = SIGNALS.get(settings["method"]["reference"], other).replace("{predicted}", predicted)
    return PLAIN.format(
        settings=SETTINGS_FILE,
        weights=WEIGHTS_FILE,
        norm=adapter.final_norm,
        readout=indent(READOUTS.get(settings["readout"], "hidden = norm(state)"), " " * 8),
        signal=indent(signal, " " * 8),
    )


def _shortcuts(settings: Mapping[str, Any]) -> str:
    if settings["exited_state"] != "linear":
        return ""
    return ", where `shortcuts.N` has for layer N `h + up(down(h))`, and `first` for a text's first token"


def _facts(settings: Mapping[str, Any]) -> str:
    base, results, price = settings["base_model"], settings["results"], settings["price"]
    exits, thresholds = settings["exits"], [f"{one['threshold']:.4g}" for one in settings["exits"]]
    before = settings["trained_from"] or base
    model = f"`{before['source']}` (sha256 `{before['sha256'][:16]}…`), "
    model += "whose own weights stay as they are." if before is base else f"trained on with them: `{base['source']}/`."
    lines = [
        f"Early exits after {', '.join(str(one['layers']) for one in exits)} of {settings['layers'][-1]} layers of "
        + model,
        "",
        f"- readout `{settings['readout']}`{', of the last block too' if settings['last_readout'] else ''}",
        f"- signal `{settings['method']['name']}`: a token leaves at the first exit where it reaches its threshold",
        f"- thresholds {', '.join(thresholds)}; an exit above 1 is off",
        "- what later tokens attend to of one that left: "
        f"`exited_state={settings['exited_state']}`{_shortcuts(settings)}",
        f"- trained on {settings['corpus']}",
    ]
    if before is not base and settings["readout"] == "final":
        lines.append(
            f"- `{base['source']}/` is transformers' own model, in float32, whose norm and head read every exit, as "
            f"LayerSkip's do: `generate(assistant_early_exit={exits[0]['layers']})` drafts with the first"
        )
    if price:
        lines.append(f"- price {price['price']:.4g} nats for the cost of the whole model, counted in {price['cost']}")
    if results["final_ppl"] is not None:
        saved = ", ".join(
            f"{results[key]:z.1%} of the {what} saved"
            for key, what in (("layer_savings", "layers"), ("flop_savings", "FLOPs"))
            if results[key] is not None
        )
        lines.append(f"- on the evaluation split of that text: PPL {results['final_ppl']:,.2f}, {saved}")
    return "\n".join(lines)
