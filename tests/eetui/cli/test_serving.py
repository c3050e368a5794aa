"""`eetui serve`: nobody gets in without the token, and what is missing is named."""

import asyncio
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eetui.cli.main import app
from eetui.cli.serving import console_command, make_server


def test_without_textual_serve_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textual_serve.server", None)
    refused = CliRunner().invoke(app, ["serve"])
    assert 'pip install "eetui[serve]"' in str(refused.exception)


def test_the_console_that_is_served_has_the_database_and_only_reads() -> None:
    assert console_command(Path("/a b/runs.db"), read_only=True).endswith("-m eetui --db '/a b/runs.db' --read-only")


def test_nobody_gets_in_without_the_token() -> None:
    pytest.importorskip("textual_serve")
    from aiohttp.test_utils import TestClient, TestServer

    async def ask() -> list[int]:
        server = make_server("true", "127.0.0.1", 8000, "secret")
        async with TestClient(TestServer(await server._make_app())) as client:
            paths = ("/", "/ws", "/static/js/textual.js", "/?token=wrong", "/?token=secret", "/")
            return [(await client.get(path)).status for path in paths]

    assert asyncio.run(ask()) == [403, 403, 403, 403, 200, 200]
