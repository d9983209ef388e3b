"""How a worker is, over HTTP: `/healthz`, `/readyz`, `/metrics`.

The standard library's server in a thread of its own: it answers while the worker's event loop is
busy, and can so tell that it is stuck. It says nothing that steers, and reads no body. Whoever
asks too slowly, or beside too many others, is turned away.

Who may ask is as for a server of ours: on the loopback whoever is on this machine, under a name of
the loopback (no page of somebody else's by DNS rebinding); beyond it only who brings the token.
"""

import hmac
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from socket import AF_INET6, SHUT_RDWR, socket
from time import monotonic
from typing import Any, TypeAlias

from sidetask.core.errors import ConfigurationError

Answer: TypeAlias = tuple[int, str]
"""Status and text."""
Page: TypeAlias = Callable[[], Answer]
SHORTEST = 16
"""Characters of a token at least; `secrets.token_urlsafe()` makes 43."""
_SECONDS = 5.0  # that a client may be silent
_WHOLE = 10.0  # seconds that a question may take, from its first letter to the end of the answer
_AT_ONCE = 32  # questions; more are turned away, for each takes a thread


class HealthServer:
    """Answers until it is closed.

    Raises:
        ConfigurationError: The address is not free, or is beyond this machine and there is no
            token; or the token is too short to be one.
    """

    def __init__(
        self,
        pages: Mapping[str, Page],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
    ) -> None:
        _check(host, token)
        handler = type("Handler", (_Handler,), {"pages": pages, "token": token})
        kind = type("Server", (_Server,), {"address_family": AF_INET6}) if ":" in host else _Server
        try:
            self._server = kind((host, port), handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigurationError(
                f"nothing can listen at {host}:{port}: {why}; give another --health-port, or 0"
                " for any that is free"
            ) from None
        name = f"[{host}]" if ":" in host else host
        self.url = f"http://{name}:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="sidetask-health", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = _AT_ONCE
    # A request that hangs holds up no end of the process.
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._asking: dict[socket, float] = {}
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, if there are not too many."""
        if len(self._asking) >= _AT_ONCE:
            self.shutdown_request(request)
            return
        self._asking[request] = monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """It is over."""
        self._asking.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Twice a second, and with each question: end those that take too long."""
        for request, began in tuple(self._asking.items()):
            if monotonic() - began > _WHOLE:
                with suppress(OSError):  # it ended meanwhile
                    request.shutdown(SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Who went away in the middle is nobody's concern."""


class _Handler(BaseHTTPRequestHandler):
    pages: Mapping[str, Page]
    token: str | None
    timeout = _SECONDS

    def version_string(self) -> str:
        """What it says of itself."""
        return "sidetask"

    def do_GET(self) -> None:
        """Answer one question."""
        status, text = self._refusal() or self._page()
        body = text.encode()
        self.send_response(status)
        kind = "text/plain; version=0.0.4; charset=utf-8"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """A probe every few seconds is no news."""

    def _page(self) -> Answer:
        page = self.pages.get(self.path.partition("?")[0])
        if page is None:
            return 404, f"there are: {', '.join(self.pages)}\n"
        return page()

    def _refusal(self) -> Answer | None:
        if self.token is None:
            if _is_loopback(_name_of(self.headers.get("Host", ""))):
                return None
            return 403, "without a token this is for its own machine alone\n"
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        known = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self.token.encode())
        if scheme.lower() == "bearer" and known:
            return None
        return 401, "send Authorization: Bearer ...\n"


def _check(host: str, token: str | None) -> None:
    if token is not None and (len(token) < SHORTEST or not token.isascii()):
        raise ConfigurationError(
            f"a token has {SHORTEST} ASCII characters or more: try"
            ' python -c "import secrets; print(secrets.token_urlsafe())"'
        )
    if token is None and not _is_loopback(host):
        raise ConfigurationError(
            f"{host} is beyond this machine: give --token, which every question has to bring"
        )


def _name_of(host: str) -> str:
    """The name or address of a `Host` header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        name = name.lower()
        return name == "localhost" or name.endswith(".localhost")
