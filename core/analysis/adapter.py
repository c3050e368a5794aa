"""A run's exits on a pretrained model as files of their own: an adapter, used without eetui's database.

A folder with the trained weights (`adapter.safetensors`), and all that is needed to use them (`config.json`): the base
model and its hash, where the exits are, readout, method, thresholds, price. Thresholds are read from `config.json`, so
whoever wants other ones changes them there. A model that the run trained on (`train.backbone=all`) is in the folder
too, as transformers saves it, and is the base model.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from core.analysis.stored_run import StoredRun, stored_run
from core.analysis.text_generator import TextGenerator
from core.analysis.trained_model import TrainedModel, trained_model
from core.config.run_config import RunConfig, rebuilt
from core.config.stored import completed
from core.data.cache import write_atomically
from core.data.tokenizers import model_vocabulary
from core.errors import ConfigError, UsageError
from core.exits import saved_by_leaving
from core.extensions.imported import no_model
from core.extensions.plugins import PIN, unpinned
from core.metrics import run_metrics
from core.pretrained.place import PREFIX, Place, content_hash, find, joined_hashes, tokenizer_hash
from core.protocol.build import build_model
from core.protocol.checkpoint import Checkpoint, trained_weights
from core.stages.backbone_training import HEAD
from core.store.reader import Reader

FORMAT, VERSION = "eetui exit adapter", 1
WEIGHTS_FILE, SETTINGS_FILE, CARD_FILE, MODEL_FOLDER = "adapter.safetensors", "config.json", "README.md", "model"
PARTS = ("readouts.", "heads.", "head.", "classifiers.", "shortcuts.")
"""What the names of an adapter's weights begin with."""
NEEDED: dict[str, type] = {
    "run.config": dict, "run.number": int, "run.name": str, "base_model.source": str, "base_model.vocab_size": int,
    "base_model.sha256": str, "exits": list,
}  # fmt: skip
"""Settings without which exits are none, and their types."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """The exits of a run.

    Attributes:
        settings: what `config.json` holds.
        weights: readouts, heads of their own, classifiers and shortcuts, by their names; float32, on the CPU. Of a
            trained model in another dtype the head too, which stays float32.
        final_norm: dotted name of the norm before the head in transformers' model.
        trained: the model where the run trained it.
    """

    settings: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    final_norm: str
    trained: TrainedModel | None = None


def adapter_of(reader: Reader, number: int) -> Adapter:
    """Return the exits of a finished run on a pretrained model.

    Raises:
        RunLookupError: there is no such run.
        UsageError: its model is not a pretrained one, it has not finished, its weights or the base model are gone.
    """
    run = stored_run(reader, number)
    if run.config.model.imported:
        raise UsageError(no_model(f"{run.name} (run {number})", "be exported as an adapter"))
    if not run.config.model.pretrained:
        raise UsageError(
            f"{run.name} (run {number}) trained a model of its own: an adapter holds the exits of a pretrained model, "
            f"and is exported of runs with --model hf:…"
        )
    checkpoint = Checkpoint.of_run(reader.path, number, run.config, run.record["fingerprint"], run.created)
    weights = trained_weights(run.config, checkpoint)
    whole = trained_model(run.config, weights) if run.config.train.backbone == "all" else None
    parts = {
        name: weight.float().contiguous()
        for name, weight in weights.items()
        if name.startswith(PARTS) and not (name == HEAD and run.config.machine.dtype == "float32")
    }
    return Adapter(_settings(run), parts, _final_norm(run.config), whole)


def require_folder(folder: Path, *, force: bool) -> bool:
    """Refuse a folder that no adapter may be written to; return whether it holds one, to be replaced.

    Raises:
        UsageError: it holds something else, an adapter that `force` does not allow to replace, or can't be read.
    """
    try:
        there = {path.name for path in folder.iterdir() if not path.name.startswith(".")} if folder.exists() else set()
    except OSError as error:
        raise UsageError(f"{folder} can't be written: {error.strerror or error}") from error
    if there and WEIGHTS_FILE not in there:
        raise UsageError(f"{folder} holds something else than an adapter: name a new folder")
    if there and not force:
        raise UsageError(f"{folder} holds an adapter already: --force replaces it, or name a new folder")
    return bool(there)


def write_adapter(adapter: Adapter, folder: Path, card: str, *, force: bool = False) -> None:
    """Write an adapter and its model card (`README.md`) to a folder that is new or empty.

    It is put in place once it is whole. Other files of the folder are left alone.

    Args:
        force: whether to replace an adapter that is there.

    Raises:
        UsageError: the folder holds something else (`require_folder`), or can't be written; then it is as it was.
    """
    require_folder(folder, force=force)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".adapter-") as staged:
            _write(adapter, Path(staged), card)
            _put_in_place(Path(staged), folder)
    except OSError as error:
        raise UsageError(f"{folder} can't be written: {error.strerror or error}") from error


def _write(adapter: Adapter, folder: Path, card: str) -> None:
    settings = dict(adapter.settings)
    content = save({**adapter.weights, **_figures(settings)}, {"format": "pt"})
    write_atomically(folder / WEIGHTS_FILE, content, durable=True)
    if adapter.trained is not None:
        adapter.trained.save(folder / MODEL_FOLDER)
        saved = Place(MODEL_FOLDER, folder / MODEL_FOLDER)
        settings["base_model"] = {**settings["base_model"], **_hashes(saved)}
    for name, text in ((SETTINGS_FILE, json.dumps(settings, indent=2) + "\n"), (CARD_FILE, card)):
        write_atomically(folder / name, text.encode(), durable=True)


def _put_in_place(staged: Path, folder: Path) -> None:
    """Move a whole adapter to its folder. Settings go first and come last: without them nobody takes it for one.

    Raises:
        UsageError: a model is in the way that is not that of the adapter before.
    """
    model = folder / MODEL_FOLDER
    before = _has_model(folder)
    if model.exists() and (staged / MODEL_FOLDER).exists() and not before:
        raise UsageError(f"{model} is not the adapter's, and would be overwritten: move it, or name a new folder")
    (folder / SETTINGS_FILE).unlink(missing_ok=True)
    if before and model.exists():
        os.replace(model, staged / "replaced")
    for name in (MODEL_FOLDER, CARD_FILE, WEIGHTS_FILE, SETTINGS_FILE):
        if (staged / name).exists():
            os.replace(staged / name, folder / name)


def _has_model(folder: Path) -> bool:
    """Whether the adapter of a folder brings its model with it."""
    try:
        return bool(_read_settings(folder).get("trained_from"))
    except UsageError:
        return False


def load_adapter(folder: Path, base: str | None = None) -> TextGenerator:
    """Load an adapter with its base model: a generator of text whose tokens leave at its exits.

    Args:
        base: place of the base model where it has moved, as for `--model`; its content must be the same. A model that
            the run trained on is in the folder.

    Raises:
        UsageError: the folder holds no adapter, or the base model is gone or another one.
    """
    settings = _read_settings(folder)
    config = rebuilt(settings["run"]["config"], str(folder / SETTINGS_FILE))
    if base is None and settings.get("trained_from"):
        base = str(folder / settings["base_model"]["source"])
    if base is not None:
        source = find(base if base.startswith(PREFIX) else PREFIX + base).lasting_source
        hashes = joined_hashes(settings["base_model"]["sha256"], settings["base_model"].get("tokenizer_sha256"))
        section = config.model.model_copy(update={"source": f"{source}{PIN}{hashes}"})
        config = config.model_copy(update={"model": section})
    model = build_model(config, settings["base_model"]["vocab_size"])
    try:
        weights = load_file(folder / WEIGHTS_FILE)
    except Exception as error:  # safetensors raises its own, which derive from Exception only
        raise UsageError(f"{folder / WEIGHTS_FILE} can't be read: {error}") from error
    weights = {name: weight for name, weight in weights.items() if name.startswith(PARTS)}
    wanted = model.state_dict()
    if unknown := set(weights) - set(wanted):
        raise UsageError(f"{folder / WEIGHTS_FILE} has weights that the config does not name: {min(unknown)}")
    if other := {name for name, weight in weights.items() if weight.shape != wanted[name].shape}:
        raise UsageError(f"{folder / WEIGHTS_FILE} has weights of another shape than the config's: {min(other)}")
    model.load_state_dict(weights, strict=False)
    return TextGenerator(
        number=settings["run"]["number"],
        name=settings["run"]["name"],
        config=config,
        model=model,
        thresholds=tuple(float(one["threshold"]) for one in settings["exits"]),
        vocabulary=model_vocabulary(config.model.source),
    )


def _figures(settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return thresholds and price as tensors, for who reads no JSON."""
    thresholds = [one["threshold"] for one in settings["exits"]]
    found = {"thresholds": torch.tensor(thresholds, dtype=torch.float64)}
    if settings["price"]:
        found["price"] = torch.tensor(settings["price"]["price"], dtype=torch.float64)
    return found


def _read_settings(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS_FILE
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} can't be read, so {folder} is no adapter: {error}") from error
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        raise UsageError(f"{path} is no {FORMAT}: eetui export RUN --adapter writes them")
    if settings.get("version") != VERSION:
        raise ConfigError(f"{path} is of version {settings.get('version')}, and this eetui reads version {VERSION}")
    for name, kind in NEEDED.items():
        value: Any = settings
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if not isinstance(value, kind):
            raise UsageError(f"{path} is damaged: {name} must be of type {kind.__name__}")
    if not all(isinstance(one, dict) and isinstance(one.get("threshold"), int | float) for one in settings["exits"]):
        raise UsageError(f"{path} is damaged: an exit has no threshold")
    return settings


def _settings(run: StoredRun) -> dict[str, Any]:
    config, model, state = run.config, run.config.model, run.state
    thresholds, base = run.thresholds, _base_model(config)
    layers = [sum(model.block_layers[: block + 1]) for block in range(len(model.block_layers))]
    priced, vocab_size = state.priced, run.record["vocab_size"]
    metrics = {metric.key: value for metric, value in run_metrics(state, completed(config.model_dump())).items()}
    return {
        "format": FORMAT,
        "version": VERSION,
        "base_model": base | {"dtype": config.machine.dtype, "vocab_size": vocab_size},
        "layers": layers,
        "readout": model.readout,
        "last_readout": model.last_readout,
        "exited_state": config.exit.exited_state,
        "texts_begin_with": [model_vocabulary(model.source).beginning] if config.data.bos_token else [],
        "method": {
            "name": config.method_name,
            "reference": config.method,
            "reads_head": run.method.reads_head,
            "claims": run.method.claims,
            "classifier": config.exit.classifier,
        },
        "exits": [
            {
                "block": block,
                "layers": layers[block],
                "threshold": threshold,
                "saved": list(saved_by_leaving(config, vocab_size, block)),
            }
            for block, threshold in enumerate(thresholds)
        ],
        "price": priced and {name: getattr(priced, name) for name in ("policy", "target", "cost", "price", "savings")},
        "results": {key: metrics.get(key) for key in ("final_ppl", "layer_savings", "flop_savings")},
        "corpus": run.record["corpus"],
        "trained_from": _base_model(config, before=True) if config.train.backbone == "all" else None,
        "run": {"number": run.number, "name": run.name, "config": config.model_dump(mode="json")},
    }


def _base_model(config: RunConfig, *, before: bool = False) -> dict[str, Any]:
    """Return where the base model is; one that the run trained on is in the folder, and its hash known once it is.

    Args:
        before: whether the model is meant that the run began with.
    """
    if config.train.backbone == "all" and not before:
        return {"source": MODEL_FOLDER, "revision": None, "on_hub": False, "gguf_file": None, "sha256": ""}
    place = find(config.model.source)
    name, _, revision = unpinned(config.model.source).removeprefix(PREFIX).partition("@")
    return {
        "source": str(place.folder.absolute()) if place.local else name,
        "revision": revision or None,
        "on_hub": not place.local,
        "gguf_file": place.gguf,
        **_hashes(place),
    }


def _hashes(place: Place) -> dict[str, str]:
    return {"sha256": content_hash(place), "tokenizer_sha256": tokenizer_hash(place)}


def _final_norm(config: RunConfig) -> str:
    """Return the dotted name of the norm before the head, from a model without memory for its weights."""
    from core.backbones.load import read_dimensions
    from core.pretrained.library import transformers
    from core.pretrained.settings import read_settings

    place = find(config.model.source)
    family, _ = read_dimensions(place)
    with torch.device("meta"):
        model = transformers().AutoModelForCausalLM.from_config(read_settings(place))
    norm = family.final_norm(family.body(model))
    return str(next(name for name, module in model.named_modules() if module is norm))
