"""What every answer of the server goes through: who may ask, and what a page may load.

A page of another site cannot use the pages: a request must name this server as its host (so that no other site's name
can be pointed at this machine), and one that names its origin must come from these pages.
"""

import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Vue compiles templates and Plotly its shaders while they run, so scripts may call eval; nothing comes from elsewhere.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; media-src 'self' blob:; font-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Refuses requests of other sites, and adds the headers that keep pages from loading anything from elsewhere.

    Args:
        app: what answers.
        host: the address at which the server listens. At the loopback address, requests may use its names only. At
            another one, which other machines reach, they may use any IP address, this machine's name, and `host`: no
            other site can have an IP address as its name.
    """

    def __init__(self, app: ASGIApp, host: str = LOOPBACK[0]) -> None:
        self._app, self._is_local = app, host in LOOPBACK
        self._names = {*LOOPBACK} if self._is_local else {*LOOPBACK, host.lower(), socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if not self._is_allowed(headers):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await PlainTextResponse("refused: not a request of these pages", 403)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    found[name] = value
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _is_allowed(self, headers: Mapping[str, str]) -> bool:
        host, origin = headers.get("host", ""), headers.get("origin")
        try:
            name = urlsplit(f"//{host}").hostname or ""
            is_same_origin = origin is None or urlsplit(origin).netloc == host
        except ValueError:  # such as a bracket that is not closed
            return False
        is_known = name in self._names or (not self._is_local and _is_ip_address(name))
        return is_known and is_same_origin


def _is_ip_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
