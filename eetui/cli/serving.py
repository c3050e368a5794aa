"""The command that shows the console in a browser, and the server behind it: textual-serve with a token before it."""

import secrets
import shlex
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from core.errors import UsageError
from eetui.cli.options import Database

if TYPE_CHECKING:
    from aiohttp import web

HOST = "127.0.0.1"
PARAMETER = "token"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self' 'unsafe-inline' data:; connect-src 'self' ws: wss:; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
"""What the page may do: nothing is loaded from elsewhere, such as textual-serve's font, for which a browser without a
network would wait; no other page shows it in a frame."""
KEYS = """<script>
  new MutationObserver((_, waiting) => {
    const keys = document.querySelector(".xterm-helper-textarea");
    if (!keys || !document.body.classList.contains("-first-byte")) return;
    keys.focus();
    waiting.disconnect();
  }).observe(document.body, { attributes: true });
</script>
</body>"""
"""The end of the page: gives the keyboard to the console once it is there, which otherwise takes a click."""
REFUSAL = "This console needs the whole address that eetui serve printed, with its token.\n"


def serve(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the server.")] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to listen on; the default is reached from this machine only.")
    ] = HOST,
    read_only: Annotated[bool, typer.Option("--read-only", help="Let those who look change nothing.")] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    *,
    db: Database,
) -> None:
    """Show the console in a browser, to whoever has its address with the token."""
    token = secrets.token_urlsafe(24)
    server = make_server(console_command(db, read_only=read_only), host, port, token)
    address = f"http://{named(host)}:{port}/?{PARAMETER}={token}"
    print(f"the console{', read only,' if read_only else ''} is at {address}\nCtrl-C ends it", flush=True)
    if open_:
        import webbrowser

        webbrowser.open(address)
    try:
        server.serve()
    except (OSError, UnicodeError) as error:  # the latter of a name that no machine can have
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"port {port} of {host} can't be used ({reason}): choose others by --port and --host"
        ) from error


def named(host: str) -> str:
    """Return what a host is called in an address that others can open; all of this machine's are its name."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def console_command(db: Path, *, read_only: bool) -> str:
    """Return the command line of one viewer's console."""
    words = [sys.executable, "-m", "eetui", "--db", str(db.absolute())]
    return shlex.join([*words, *(["--read-only"] if read_only else [])])


def make_server(command: str, host: str, port: int, token: str) -> Any:
    """Return a server that starts a console for each viewer who has the token.

    Raises:
        UsageError: textual-serve is not installed.
    """
    try:
        from textual_serve.server import Server
    except ImportError as error:
        raise UsageError('eetui serve needs textual-serve: pip install "eetui[serve]"') from error

    class TokenServer(Server):  # type: ignore[misc]  # it is optional, and Any without it
        """A server that asks for the token."""

        async def _make_app(self) -> "web.Application":
            app: web.Application = await super()._make_app()
            app.middlewares.append(asks_for(token, f"eetui_{port}"))
            return app

        async def handle_index(self, request: "web.Request") -> Any:
            """Return the page, whose parts are where the browser found it: through a tunnel, by another name."""
            self.public_url = f"{request.scheme}://{request.host}"
            page = await super().handle_index(request)
            page.text = page.text.replace("</body>", KEYS)
            return page

        async def on_startup(self, app: "web.Application") -> None:
            """Say nothing: the command has said where it is."""

    return TokenServer(command, host, port, title="eetui")


def asks_for(token: str, cookie: str) -> Any:
    """Return the middleware that lets in who has the token: once in the address, then in a cookie of that name."""
    from aiohttp import web

    def fits(given: str) -> bool:
        return secrets.compare_digest(given.encode(errors="replace"), token.encode())

    async def guard(request: web.Request, handler: Any) -> web.StreamResponse:
        if (origin := request.headers.get("Origin")) and urlsplit(origin).netloc != request.host:
            raise web.HTTPForbidden(text=REFUSAL)  # a page of another server, in the browser of who has the token
        if fits(request.cookies.get(cookie, "")):
            response: web.StreamResponse = await handler(request)
            if not response.prepared:  # a web socket is, when it ends
                response.headers.update(HEADERS)
            return response
        if not fits(request.query.get(PARAMETER, "")):
            raise web.HTTPForbidden(text=REFUSAL)
        without = str(request.rel_url.with_query(None))
        entered = web.Response(status=302, headers={"Location": without})
        entered.set_cookie(cookie, token, httponly=True, samesite="Lax")  # strict ones do not follow a link's redirect
        return entered

    return web.middleware(guard)
