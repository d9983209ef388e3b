"""Fetching a page: http and https only, bounded in time and size.

The standard library's client knows proxies, redirects and certificates, and blocks. It runs on
a daemon thread of its own and not in the pool: who cancels does not wait for a server that says
nothing. The thread sees the flag at its next read, and ends within `timeout` at the latest.
"""

import asyncio
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.client import HTTPException, HTTPMessage
from time import monotonic
from typing import Protocol
from urllib.parse import urlsplit

from sidetask.core.errors import ToolError

_MAX_BYTES = 1024 * 1024
_MAX_SECONDS = 300
_PIECE = 64 * 1024


async def fetch_url(url: str, timeout: float = 30) -> str:
    """Fetch a web page or another text by http or https, as it is.

    Args:
        url: The address, beginning with http:// or https://.
        timeout: How many seconds it may take.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ToolError(f"{url!r} is no address: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ToolError(f"{url!r} is no address that begins with http:// or https://")
    if not 0 < timeout <= _MAX_SECONDS:
        raise ToolError(f"timeout is seconds above 0 and up to {_MAX_SECONDS}, not {timeout}")
    fetch = _Fetch(url, timeout)
    try:
        async with asyncio.timeout(timeout):
            return await fetch.start()
    except TimeoutError:
        raise ToolError(f"{url} was not there within {timeout:g} s") from None
    finally:
        fetch.unwanted = True


class _Response(Protocol):
    headers: HTTPMessage

    def read1(self, size: int) -> bytes: ...


class _Fetch:
    """One request, on its thread."""

    def __init__(self, url: str, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        self._end = monotonic() + timeout
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[str] = self._loop.create_future()
        self.unwanted = False

    def start(self) -> asyncio.Future[str]:
        threading.Thread(target=self._run, name="sidetask-fetch", daemon=True).start()
        return self._answer

    def _run(self) -> None:
        try:
            text = self._fetch()
        except ToolError as error:
            self._tell(partial(self._answer.set_exception, error))
        else:
            self._tell(partial(self._answer.set_result, text))

    def _tell(self, answer: Callable[[], None]) -> None:
        def told() -> None:
            if not self._answer.done():
                answer()

        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(told)

    def _fetch(self) -> str:
        request = urllib.request.Request(self._url, headers={"User-Agent": "sidetask"})
        try:
            # Past the caller's own timeout, which is the one that is told.
            with _opener().open(request, timeout=self._timeout + 1) as response:
                return self._text(response)
        except urllib.error.HTTPError as error:
            error.close()
            raise ToolError(f"{self._url} answered {error.code} {error.reason}") from None
        except urllib.error.URLError as error:
            raise ToolError(f"{self._url} can't be fetched: {error.reason}") from None
        except (OSError, HTTPException, ValueError) as error:
            what = str(error) or type(error).__name__
            raise ToolError(f"{self._url} can't be fetched: {what}") from None

    def _text(self, response: _Response) -> str:
        body = bytearray()
        while len(body) <= _MAX_BYTES and (piece := response.read1(_PIECE)):
            body += piece
            if self.unwanted or monotonic() > self._end:
                return ""
        if b"\0" in body[:8192]:
            kind = response.headers.get_content_type()
            raise ToolError(f"{self._url} is binary ({kind})")
        text = _decoded(bytes(body[:_MAX_BYTES]), response.headers.get_content_charset("utf-8"))
        return f"{text}\n[cut after {_MAX_BYTES:,} bytes]" if len(body) > _MAX_BYTES else text


def _decoded(body: bytes, charset: str) -> str:
    try:
        return body.decode(charset, errors="replace")
    except LookupError:  # a charset that Python does not know
        return body.decode(errors="replace")


def _opener() -> urllib.request.OpenerDirector:
    """What `urllib.request.urlopen` knows, without file:, ftp: and data:, also by a redirect."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener
