"""References to pretrained models, and the files that they stand for.

`hf:PLACE[@REVISION]`: the place is a folder, a GGUF file, or the id of a repository on the hub, which alone has
revisions. A resolved config holds the reference pinned to its content, `hf:PLACE#sha256=…&tokenizer=…`, so a run never
comes to mean another model. References of before the tokenizer had a hash, `hf:PLACE#sha256=…`, mean any tokenizer, and
stay as they are.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from core.errors import ConfigError
from core.extensions.imported import IMPORTED
from core.extensions.plugins import PIN, unpinned

OWN = "own"
PREFIX = "hf:"
WEIGHTS = "*.safetensors"
WANTED = ("*.json", WEIGHTS, "*.model", "*.txt")
"""Files of a repository on the hub that are of use."""
TOKENIZER_FILES = (
    "tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "tekken.json",
    "*.model",
)  # fmt: skip
"""What transformers reads a tokenizer from; beside a GGUF file, `tokenizer.json` comes before the file's own."""
TOKENIZER_PIN = "&tokenizer="
"""What stands between the hash of a model and that of its tokenizer."""
READ_BYTES = 1 << 22


@dataclass(frozen=True)
class Place:
    """The files of a pretrained model.

    Attributes:
        source: reference as the user wrote it, without its hash.
        gguf: name of the GGUF file in the folder; None: the folder is the model.
        local: whether the user named the files, rather than a repository on the hub.
    """

    source: str
    folder: Path
    gguf: str | None = None
    local: bool = True

    @property
    def lasting_source(self) -> str:
        """The reference that means the same in every working directory."""
        if not self.local:
            return self.source
        return PREFIX + os.path.abspath(self.folder / self.gguf if self.gguf else self.folder)

    @property
    def options(self) -> dict[str, str]:
        """Keyword arguments of transformers' `from_pretrained`, beside the folder."""
        return {"gguf_file": self.gguf} if self.gguf else {}

    @property
    def weight_files(self) -> list[Path]:
        """Files of the weights, in alphabetical order."""
        return [self.folder / self.gguf] if self.gguf else sorted(self.folder.glob(WEIGHTS))


def is_pretrained(source: str) -> bool:
    """Whether a model's source is a pretrained model, rather than one of our own."""
    return source.startswith(PREFIX)


def check_form(source: str) -> str:
    """Return a source as it is, if it is `own`, `imported`, or a reference that names a place.

    Raises:
        ValueError: it is neither; the message reads on after the field's name.
    """
    if source in (OWN, IMPORTED) or (is_pretrained(source) and unpinned(source) != PREFIX):
        return source
    raise ValueError(f"must be {OWN} or {PREFIX}PLACE[@REVISION]: a folder, a GGUF file, or a hub id such as gpt2")


def find(source: str) -> Place:
    """Find the files of a reference, from the hub if need be; a pinned one must still hold what it held.

    Raises:
        ConfigError: there are none, they hold no weights, or they have changed.
    """
    named, _, pin = source.partition(PIN)
    digest, _, tokenizer = pin.partition(TOKENIZER_PIN)
    place = _located(named)
    for what, asked, there in (("content", digest, content_hash), ("tokenizer", tokenizer, tokenizer_hash)):
        if asked and asked != there(place):
            raise ConfigError(
                f"model {named} has changed: its {what} is no longer that of the run (sha256 {asked[:8]}…); restore "
                f"it, or start a new run with eetui run"
            )
    return place


def pinned(source: str) -> str:
    """Return a reference with the hashes of its content and its tokenizer; a pinned one has those that it has.

    Raises:
        ConfigError: as for `find`.
    """
    place, pin = find(source), source.partition(PIN)[2]
    return f"{place.lasting_source}{PIN}{pin or joined_hashes(content_hash(place), tokenizer_hash(place))}"


def joined_hashes(content: str, tokenizer: str | None) -> str:
    """Return what a pinned reference ends with: a model's hash and, where it is known, that of its tokenizer."""
    return f"{content}{TOKENIZER_PIN}{tokenizer}" if tokenizer else content


def short_name(source: str) -> str:
    """Return a model's name in texts: the last part of its place, without its hash."""
    return Path(unpinned(source).removeprefix(PREFIX)).name


def content_hash(place: Place) -> str:
    """Return the SHA-256, in hex, of the names and contents of a model's weights and configuration."""
    files = place.weight_files + ([] if place.gguf else [place.folder / "config.json"])
    return _hash_of_files(files)


def tokenizer_hash(place: Place) -> str:
    """Return the SHA-256, in hex, of the names and contents of the files that a tokenizer is read from.

    A GGUF file holds a tokenizer too, which its content's hash covers.
    """
    found = {file for pattern in TOKENIZER_FILES for file in place.folder.glob(pattern) if file.is_file()}
    return _hash_of_files(sorted(found))


def _hash_of_files(files: Sequence[Path]) -> str:
    try:
        return _hash_of(tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files))
    except OSError as error:
        raise ConfigError(f"{error.filename} can't be read: {error.strerror or error}") from error


@cache
def _hash_of(files: tuple[tuple[str, int, int], ...]) -> str:
    """Hash files; size and time are there so that a changed file is hashed again."""
    whole = hashlib.sha256()
    for name, size, _ in files:
        whole.update(f"{Path(name).name}\n{size}\n".encode())
        with open(name, "rb") as file:
            while part := file.read(READ_BYTES):
                whole.update(part)
    return whole.hexdigest()


def _located(named: str) -> Place:
    reference = named.removeprefix(PREFIX)
    path = Path(os.path.expanduser(reference))
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise ConfigError(f"model {named} is a file, but no GGUF file: give the folder of a model, or a .gguf file")
        return Place(named, path.parent, path.name)
    if path.is_dir():
        return _with_weights(Place(named, path))
    if reference.startswith((".", "/", "~")) or path.suffix.lower() == ".gguf":
        where = "" if os.path.isabs(path) else f" in {Path.cwd()}"
        raise ConfigError(f"model {named} is not there: no such file or folder{where}; put it there, or check its path")
    return _with_weights(Place(named, _downloaded(named), local=False))


def _with_weights(place: Place) -> Place:
    if not (place.folder / "config.json").is_file():
        ggufs = sorted(file.name for file in place.folder.glob("*.gguf"))
        there = f"; name one of its GGUF files: {', '.join(ggufs)}" if ggufs else ""
        raise ConfigError(f"model {place.source} has no config.json{there}")
    if not place.weight_files:
        raise ConfigError(
            f"model {place.source} has no weights: {place.folder} holds no .safetensors file (older .bin files are not "
            f"read, since loading one may run code)"
        )
    return place


def _downloaded(named: str) -> Path:
    """Return the folder of a repository on the hub, downloaded if it is not there yet."""
    name, _, revision = named.removeprefix(PREFIX).partition("@")
    from core.pretrained.library import transformers

    transformers()  # with it comes the hub's client
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=list(WANTED)))
    except Exception as error:  # the client lets through whatever its network stack raises
        message = " ".join(str(error).split())
        raise ConfigError(
            f"model {named} can't be had from the hub: {type(error).__name__}: {message:.200}; check the name, the "
            f"revision and the network, or give a local folder"
        ) from error
