"""The address of a cluster, looked at before Ray is: Ray itself takes minutes to say that nobody answers."""

import os
import socket

from core.config.messages import shortened
from core.errors import UsageError

LOCAL = "local"
"""Instead of an address: a cluster of this machine alone, for as long as the sweep runs."""
CONNECT_SECONDS = 3.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What a client of HTTP/2, which Ray speaks, says first: the preface and empty settings."""
_SETTINGS = 4
"""Type of the frame that a server of HTTP/2 answers with, its fourth byte."""


def require_reachable(address: str) -> None:
    """Refuse an address that is none, or at which no cluster answers.

    Raises:
        UsageError: it is so.
    """
    if address == LOCAL:
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16 or "/" in host:
        raise UsageError(
            f"--ray needs the address HOST:PORT of a cluster's head node, such as 10.0.0.1:6379, got "
            f"{shortened(address)!r}; without an address it starts a cluster on this machine"
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS) as connection:
            connection.settimeout(CONNECT_SECONDS)
            if not os.environ.get("RAY_USE_TLS") and not _speaks_http2(connection):
                raise UsageError(f"what answers at {address} is no Ray cluster: give the address that ray start said")
    except OSError as error:
        raise UsageError(
            f"no Ray cluster can be reached at {address} ({error.strerror or error}): start one there with "
            f"ray start --head, or leave the address out for a cluster on this machine"
        ) from None


def _speaks_http2(connection: socket.socket) -> bool:
    connection.sendall(_PREFACE)
    return len(answer := connection.recv(9)) > 3 and answer[3] == _SETTINGS
