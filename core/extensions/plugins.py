"""Users' own extensions: a file named by its path, or the entry point of an installed package.

One is found, and its content hashed, without importing it, so that a config can be checked without torch. A pinned
reference, `/path/to/mine.py#sha256=…`, names the content with the place: a stored config never comes to mean another
method.
"""

import hashlib
import os
import re
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from core.errors import ConfigError
from core.extensions.imported import IMPORTED_SIGNAL
from core.extensions.kinds import Kind

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

PIN = "#sha256="
MOST_BYTES = 10_000_000
"""Size of the largest file that is read: what has no end, such as a device, is no plug-in."""
SHORT_HASH = 8
_DIGEST = re.compile(r"[0-9a-f]{64}")


class PluginError(ValueError):
    """A reference that can't be had; the message reads on after the reference's name."""


@dataclass(frozen=True)
class Plugin:
    """A user's own extension, found and not yet loaded.

    Attributes:
        reference: as it is pinned: place and content.
        name: what lists call it.
        sha256: of the file's content, in hex.
        attribute: name of the object that it offers.
        parent: package that its relative imports start from; empty for a file of its own.
        package: the installed package that offers it, with its version; empty for a file of its own.
    """

    kind: Kind
    reference: str
    name: str
    file: Path
    sha256: str
    attribute: str
    parent: str
    package: str
    source: bytes = field(repr=False)

    @property
    def record(self) -> dict[str, str]:
        """Return the plain values that a run's record keeps of it."""
        package = {"package": self.package} if self.package else {}
        return {"name": self.name, "file": str(self.file), "sha256": self.sha256, **package}

    def line_of(self, *parts: str) -> str:
        """`FILE:LINE` of the first of these attributes, functions or classes that is written out, else just `FILE`."""
        text = self.source.decode(errors="replace")
        for part in parts:
            if found := re.search(rf"^[ \t]*(?:def |class )?{re.escape(part)}\b[ \t]*[(:=]", text, re.MULTILINE):
                return f"{self.file}:{text.count(chr(10), 0, found.end()) + 1}"
        return str(self.file)

    def place_of(self, error: BaseException) -> str:
        """`FILE:LINE` that an error came from, the last in this file."""
        if isinstance(error, SyntaxError) and error.filename == str(self.file) and error.lineno:
            return f"{self.file}:{error.lineno}"
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(self.file)
        ]
        return f"{self.file}:{lines[-1]}" if lines else str(self.file)

    def refused(self, place: str, reason: str) -> ConfigError:
        """Return the error for a bad plug-in: where, what is wrong, where to read what it must be."""
        return ConfigError(f"{self.kind.noun} {self.name} can't be used: {place}: {reason} ({self.kind.guide})")


def is_path(reference: str) -> bool:
    """Whether a reference is the path of a file rather than a name."""
    place = unpinned(reference)
    return place.endswith(".py") or os.sep in place or "/" in place


def is_pinned(reference: str) -> bool:
    return PIN in reference


def unpinned(reference: str) -> str:
    """Return the reference without the hash of its content."""
    return reference.partition(PIN)[0]


def with_short_hashes(text: str) -> str:
    """Return a text with the first digits alone of each hash in it, as tables show pinned references."""
    return _DIGEST.sub(lambda found: f"{found[0][:SHORT_HASH]}…", text)


def short_name(reference: str) -> str:
    """Return its name in lists and run names: `mine` for `/path/to/mine.py#sha256=…` and `imported:mine`."""
    return Path(unpinned(reference)).stem if is_path(reference) else unpinned(reference).removeprefix(IMPORTED_SIGNAL)


def installed(kind: Kind) -> dict[str, "list[EntryPoint]"]:
    """Entry points of installed packages by name; built-in names are not theirs to offer."""
    from importlib.metadata import entry_points  # 50 ms

    found: dict[str, list[EntryPoint]] = {}
    for entry in sorted(entry_points(group=kind.group), key=lambda entry: entry.name):
        if entry.name not in kind.built_in:
            found.setdefault(entry.name, []).append(entry)
    return found


def pinned(kind: Kind, reference: str) -> str:
    """Pin the reference of a plug-in to its present content; leave what is built in, pinned or imported alone.

    Raises:
        PluginError: there is no such file or entry point, or it has a built-in's name.
    """
    if reference in kind.built_in or reference.startswith(IMPORTED_SIGNAL):
        return reference
    if is_pinned(reference):
        if not _DIGEST.fullmatch(reference.partition(PIN)[2]):
            raise PluginError(f"must end with {PIN} and 64 hexadecimal digits, or without")
        return reference
    return _look_up(kind, reference).reference


def find(kind: Kind, reference: str) -> Plugin:
    """Find the plug-in of a reference; of a pinned one, only with the same content.

    Raises:
        ConfigError: it can't be had, or its content is no longer the same.
    """
    name, place = f"{kind.noun} {short_name(reference)}", unpinned(reference)
    try:
        plugin = _look_up(kind, place)
    except PluginError as error:
        advice = "; it was there when the run began: restore it, or start a new run" if is_pinned(reference) else ""
        raise ConfigError(f"{name} {error}, got {place!r}{advice}") from error
    if is_pinned(reference) and plugin.reference != reference:
        asked, there = (digest[:SHORT_HASH] for digest in (reference.partition(PIN)[2], plugin.sha256))
        raise ConfigError(
            f"{name} has changed: {plugin.file} has SHA-256 {there}…, and the config asks for {asked}…; restore the "
            f"file, or start a new run"
        )
    return plugin


def load(plugin: Plugin) -> object:
    """Run a plug-in's source, the bytes that were hashed, and return what it offers.

    Raises:
        ConfigError: it does not run, or offers nothing.
    """
    module = ModuleType(f"eetui_plugin_{plugin.sha256}")
    module.__file__, module.__package__ = str(plugin.file), plugin.parent
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(plugin.source, str(plugin.file), "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise plugin.refused(plugin.place_of(error), f"{type(error).__name__}: {error}") from error
    try:
        found: object = getattr(module, plugin.attribute)
    except AttributeError:
        raise plugin.refused(
            str(plugin.file), f"there is no {plugin.attribute}: end it with {plugin.attribute} = …"
        ) from None
    return found


def _look_up(kind: Kind, reference: str) -> Plugin:
    """Find the plug-in with its present content.

    Raises:
        PluginError: it can't be had.
    """
    return _file(kind, reference) if is_path(reference) else _entry_point(kind, reference)


def _file(kind: Kind, reference: str) -> Plugin:
    path = Path(os.path.abspath(os.path.expanduser(reference)))
    if path.stem in kind.built_in:
        raise PluginError(f"must not be called like the built-in {path.stem}: rename the file")
    if not str(path).isprintable():
        raise PluginError("must have a printable name: rename the file")
    return _read(kind, path, str(path), path.stem, kind.attribute, "", "")


def _entry_point(kind: Kind, name: str) -> Plugin:
    entries = installed(kind)
    if name not in entries:
        names = ", ".join((*kind.built_in, *entries))
        raise PluginError(f"must be one of {names}, or the path of your own file ({kind.guide})")
    packages = [f"{entry.dist.name} {entry.dist.version}" if entry.dist else "?" for entry in entries[name]]
    if len(packages) > 1:
        raise PluginError(f"must be of one package, and {' and '.join(packages)} both offer it: uninstall one")
    entry = entries[name][0]
    file, parent = _module_file(entry.module)
    if file is None:
        raise PluginError(f"must be a module that is there, and {packages[0]} has no file for {entry.module}")
    return _read(kind, file, name, name, entry.attr or kind.attribute, parent, packages[0])


def _module_file(module: str) -> tuple[Path | None, str]:
    """Find the file of a module and its parent package, without importing either."""
    from importlib.machinery import PathFinder
    from importlib.util import find_spec

    first, *rest = module.split(".")
    spec, name = find_spec(first), first
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None, ""
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, spec.submodule_search_locations)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None, ""
    return Path(spec.origin), spec.parent or ""


def _read(kind: Kind, file: Path, place: str, name: str, attribute: str, parent: str, package: str) -> Plugin:
    try:
        with file.open("rb") as opened:
            source = opened.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise PluginError(f"must be a file that can be read ({getattr(error, 'strerror', None) or error})") from error
    if len(source) > MOST_BYTES:
        raise PluginError(f"must be a file of Python, at most {MOST_BYTES:,} bytes")
    sha256 = hashlib.sha256(source).hexdigest()
    return Plugin(kind, f"{place}{PIN}{sha256}", name, file, sha256, attribute, parent, package, source)
