"""What a node of a cluster has installed. Nothing of eetui is imported, as there it may be another one, or none.

The module is sent to the node as it is here.
"""

import hashlib
import importlib.metadata
import importlib.util
import socket
from pathlib import Path


def installed() -> dict[str, str]:
    """Return host, version and code of eetui, and version of torch; empty where it is not there."""
    return {
        "host": socket.gethostname(),
        "eetui": _version("eetui"),
        "torch": _version("torch"),
        "code": _code("core"),
    }


def named(facts: dict[str, str]) -> str:
    """Say what is installed: `eetui 0.2.0 (code 1a2b3c4d) and torch 2.8.0`."""
    eetui = f"eetui {facts['eetui']} (code {facts['code']})" if facts["eetui"] and facts["code"] else "no eetui"
    return f"{eetui} and {'torch ' + facts['torch'] if facts['torch'] else 'no torch'}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _code(package: str) -> str:
    """Return eight digits of the SHA-256 of a package's source files and their names."""
    found = importlib.util.find_spec(package)
    if found is None or not found.origin:
        return ""
    folder, digest = Path(found.origin).parent, hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"\n{path.relative_to(folder).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]
