"""Addresses of clusters: what is none, what does not answer, and what answers and is something else."""

import socket
import threading
from collections.abc import Iterator

import pytest

from core.errors import UsageError
from core.sweeps.remote.address import require_reachable


@pytest.fixture
def web_server() -> Iterator[str]:
    """Serve one connection as a server of HTTP/1 does, and yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize("address", ["", "host", "host:0", "host:70000", ":6379", "ray://host:10001"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="needs the address HOST:PORT"):
        require_reachable(address)


def test_something_else_that_answers_is_no_cluster(web_server: str) -> None:
    with pytest.raises(UsageError, match="is no Ray cluster"):
        require_reachable(web_server)
