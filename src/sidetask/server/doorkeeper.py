"""Who may come in: a doorkeeper before an ASGI app that speaks for an agent.

Whoever reaches the app can make the agent work, and say yes to its approvals. So there are two
doors. On the *loopback* whoever really is on this machine is let in. Beyond it, and wherever a
*token* is set, only who brings it. Refused in any case are

* a foreign `Host`: a name of somebody else's that was made to point here (DNS rebinding);
* a foreign `Origin`: a page of somebody else's that sends our browser here (CSRF).

A browser gets the token from a link, `http://host/?token=...`, once: a cookie takes its place that
scripts cannot read and other sites cannot send, and the link is left. Other clients send
`Authorization: Bearer ...`. The app may not be shown in a frame, where a click can be stolen.
"""

import hmac
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from ipaddress import IPv6Address, ip_address
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlencode

from sidetask.core.errors import ConfigurationError
from sidetask.core.errors.checks import check_callable, check_kind, check_list

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]

COOKIE = "sidetask_token"
SHORTEST = 16
"""Characters of a token at least; `secrets.token_urlsafe()` makes 43."""
FORWARDED = (b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip")
"""Headers by which a proxy on this machine tells that somebody else is asking."""
NO_FRAMES: Headers = [
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
]

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\s:@/\[\]]+))(?::\d+)?")


class Doorkeeper:
    """An ASGI app that hands on the requests of those who may, and answers the others itself.

    Without a `token` only this machine may, under a name of the loopback. With one everybody has
    to bring it, under a name of the loopback or of `hosts` (`"agent.example.com"`, without port).
    `origins` are pages elsewhere that may send requests (`"https://app.example.com"`); that they
    may read the answers is for the app to say (CORS).

    Raises:
        ConfigurationError: The token is too short to be one, or `hosts` are given without one.
    """

    def __init__(
        self,
        app: App,
        *,
        token: str | None = None,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
    ) -> None:
        check_callable("app", app)
        if token is not None:
            check_kind("token", token, str)
        self._app = app
        self._hosts = frozenset([host.lower().strip("[]") for host in _names("hosts", hosts)])
        self._origins = frozenset(
            [origin.lower().rstrip("/") for origin in _names("origins", origins)]
        )
        if self._hosts and token is None:
            raise ConfigurationError("beyond the loopback a token is asked for: give token=")
        if token is not None and (len(token) < SHORTEST or not token.isascii()):
            raise ConfigurationError(
                f"a token has {SHORTEST} ASCII characters or more: try secrets.token_urlsafe()"
            )
        self._token = None if token is None else token.encode()
        # What a browser keeps opens this app only: the cookies of a host are for all its ports.
        self._cookie = hmac.digest(self._token or b"", COOKIE.encode(), "sha256").hex()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers: Headers = scope["headers"]
        refusal = self._foreign(headers)
        if refusal is None and (link := self._opened(scope)) is not None:
            await _answer(send, 303, "", link)
            return
        refusal = refusal or self._unknown(scope, headers)
        if refusal is None:
            await self._app(scope, receive, _unframed(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})
        else:
            await _answer(send, *refusal)

    def _foreign(self, headers: Headers) -> tuple[int, str] | None:
        """The status and reason by which a request is refused that somebody else's page made."""
        host = _value(headers, b"host").lower()
        found = _HOST.fullmatch(host)
        name = (found[1] or found[2]) if found else ""
        if not (name in self._hosts or _is_loopback(name)):
            return 403, "this server does not answer to this name: see hosts="
        origin = _value(headers, b"origin").lower()
        own = ("", f"http://{host}", f"https://{host}")
        if origin not in own and origin not in self._origins:
            return 403, "pages of other sites may not send requests here: see origins="
        return None

    def _unknown(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """The status and reason by which somebody is refused who may not come in."""
        if self._token is None:
            is_forwarded = any(name in FORWARDED for name, _ in headers)
            client = scope.get("client")
            if client is None or is_forwarded or not _is_loopback(client[0]):
                return 403, "without a token this server is for its own machine alone: see token="
            return None
        scheme, _, bearer = _value(headers, b"authorization").partition(" ")
        if scheme.lower() == "bearer" and _is_same(bearer.strip(), self._token):
            return None
        pairs = [each.strip() for each in _value(headers, b"cookie", b";").split(";")]
        known = f"{COOKIE}={self._cookie}".encode()
        if any(_is_same(pair, known) for pair in pairs):
            return None
        return 401, "open the link with ?token=... once, or send Authorization: Bearer ..."

    def _opened(self, scope: Scope) -> Headers | None:
        """Where a link with the right token leads, and the cookie that it leaves; or None."""
        if self._token is None or scope.get("method") != "GET":
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if not any(name == "token" and _is_same(value, self._token) for name, value in query):
            return None
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        cookie = f"{COOKIE}={self._cookie}; HttpOnly; SameSite=Strict; Path=/"
        cookie += "; Secure" if scope.get("scheme") == "https" else ""
        # A query alone leads to the same path: a path could name another site (`//example.com`).
        return [(b"location", f"?{rest}".encode()), (b"set-cookie", cookie.encode())]


def _is_same(given: str, secret: bytes) -> bool:
    """Compare in a time that tells nothing of the secret but its length."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), secret)


def _value(headers: Headers, name: bytes, join: bytes = b", ") -> str:
    """A header's value; of one that comes twice both, which is no name and no origin."""
    return join.join([value for key, value in headers if key == name]).decode("latin-1")


def _names(what: str, given: Iterable[str]) -> list[str]:
    check_list(what, given)
    names = list(given)
    for each in names:
        check_kind(f"each of {what}", each, str)
    return names


def _is_loopback(name: str) -> bool:
    try:
        address = ip_address(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def _unframed(send: Send) -> Send:
    """Send on, with the word that the answer may not be shown in a frame."""

    async def also(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            given: Headers = list(message.get("headers", ()))
            names = {name.lower() for name, _ in given}
            given += [header for header in NO_FRAMES if header[0] not in names]
            message = {**message, "headers": given}
        await send(message)

    return also


async def _answer(send: Send, status: int, text: str, headers: Headers | None = None) -> None:
    told: Headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"cache-control", b"no-store"),
        *(headers or []),
    ]
    if status == 401:
        told.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": text.encode()})
