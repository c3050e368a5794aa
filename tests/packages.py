"""Installed packages for tests: a folder to put on `sys.path`, with files and the metadata that an installer writes."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent


def install(
    folder: Path,
    name: str,
    files: Mapping[str, str],
    entry_points: Mapping[str, Mapping[str, str]],
    version: str = "1.2",
) -> Path:
    """Write a package into a folder as pip would have; the folder.

    Args:
        files: text by path.
        entry_points: by group, then by name, such as `{"eetui.exits": {"mine": "package.module"}}`.
    """
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(dedent(text))
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in own.items()) for group, own in entry_points.items()]
    (metadata / "entry_points.txt").write_text("\n".join(groups))
    return folder
