"""`eetui serve`: nobody gets in without the token, and what is missing is named."""

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from core.errors import UsageError
from eetui.cli.main import app
from eetui.cli.serving import console_command, make_server, named, serve


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


def test_the_page_loads_nothing_from_elsewhere_and_a_link_of_another_site_opens_it() -> None:
    pytest.importorskip("textual_serve")
    from aiohttp.test_utils import TestClient, TestServer

    async def ask() -> tuple[str, str]:
        server = make_server("true", "127.0.0.1", 8000, "secret")
        async with TestClient(TestServer(await server._make_app())) as client:
            entered = await client.get("/?token=secret", allow_redirects=False)
            page = await client.get("/")
            return entered.headers["Set-Cookie"], page.headers["Content-Security-Policy"]

    cookie, policy = asyncio.run(ask())
    assert "SameSite=Lax" in cookie, "a strict one is left out where a link of another site leads to a redirect"
    assert "HttpOnly" in cookie
    assert policy.startswith("default-src 'self' ")
    assert "http" not in policy


def test_the_page_works_by_whatever_name_the_browser_found_it_and_for_no_other_page() -> None:
    pytest.importorskip("textual_serve")
    from aiohttp.test_utils import TestClient, TestServer

    async def ask() -> tuple[str, int, int]:
        server = make_server("true", "0.0.0.0", 8000, "secret")
        async with TestClient(TestServer(await server._make_app())) as client:
            page = await (await client.get("/?token=secret", headers={"Host": "tunnel:9000"})).text()
            own, others = "http://tunnel:9000", "http://tunnel:9001"
            found = [
                (await client.get("/", headers={"Host": "tunnel:9000", "Origin": origin})).status
                for origin in (own, others)
            ]
            return page, *found

    page, own, others = asyncio.run(ask())
    assert 'data-session-websocket-url="ws://tunnel:9000/ws"' in page
    assert 'src="http://tunnel:9000/static/js/textual.js"' in page
    assert (own, others) == (200, 403)


@pytest.mark.parametrize("error", [OSError(98, "Address already in use"), UnicodeError("label empty")])
def test_an_address_that_can_not_be_listened_on_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise error

    monkeypatch.setattr("eetui.cli.serving.make_server", lambda *arguments: SimpleNamespace(serve=fails))
    with pytest.raises(UsageError, match=r"port 8000 of a\.\.b can't be used \((Address already in use|label empty)\)"):
        serve(8000, "a..b", read_only=False, open_=False, db=Path("runs.db"))


def test_an_address_that_others_can_open_is_printed() -> None:
    assert [named(host) for host in ("127.0.0.1", "::1", "lab")] == ["127.0.0.1", "[::1]", "lab"]
    assert named("0.0.0.0") not in ("0.0.0.0", "")


def test_the_keyboard_belongs_to_the_console_once_it_is_there() -> None:
    pytest.importorskip("textual_serve")
    from aiohttp.test_utils import TestClient, TestServer

    async def ask() -> tuple[str, str]:
        server = make_server("true", "127.0.0.1", 8000, "secret")
        async with TestClient(TestServer(await server._make_app())) as client:
            page = await (await client.get("/?token=secret")).text()
            return page, await (await client.get("/static/js/textual.js")).text()

    page, script = asyncio.run(ask())
    assert page.count("keys.focus()") == page.count("</body>") == 1
    assert "-first-byte" in script, "textual-serve marks the page's body once the console has drawn"
    assert "xterm-helper-textarea" in script, "where its terminal reads keys"
