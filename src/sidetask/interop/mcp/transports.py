"""The two ways to a server: the pipes of a process, and streamable HTTP.

Both yield the library's pair of streams, and tell more than it does: when a process is gone, what
it wrote to its standard error, and which status an HTTP server answered with.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self, TextIO, TypeAlias

import httpx2
from anyio import EndOfStream
from mcp import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage

from sidetask.interop.mcp.server import Endpoint, Process
from sidetask.tasks.aio.threads import shared as shared_threads

_CONNECT = 30.0
"""Seconds: to connect, and to send a request. There is no limit to the silence after it: a call
may take hours, and `TaskPolicy(timeout=...)` is what bounds it."""
_SESSION = "mcp-session-id"
_LONGEST_LINE = 2_000
_TAIL = 20
_LAST_WORDS = 0.5  # seconds that what a dead process has written may take to arrive

_log = logging.getLogger("sidetask.interop.mcp")


@dataclass(slots=True)
class Exchange:
    """What HTTP told about the requests of one caller."""

    status: int | None = None
    """Of an answer that refused a request."""
    unsent: str = ""
    """Why a request has certainly not been looked at; or nothing."""


exchange: ContextVar[Exchange | None] = ContextVar("exchange", default=None)
"""The library carries the caller's context along to where its request is sent."""


Streams: TypeAlias = tuple[Any, Any]  # the library's own names for the two are private


class Messages(Protocol):
    """What the library reads from."""

    async def receive(self) -> SessionMessage | Exception: ...
    async def aclose(self) -> None: ...


class Stderr:
    """The standard error of a process: to the log, line by line; its end is kept for an error.

    A thread reads it: a pipe that nobody reads would stop the process, and the loops of some
    systems cannot wait for one.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._lines: deque[str] = deque(maxlen=_TAIL)
        reading, writing = os.pipe()
        self.file: TextIO = os.fdopen(writing, "w")
        """For the process."""
        self._thread = threading.Thread(
            target=self._read, args=[reading], name=f"stderr of {server}", daemon=True
        )
        self._thread.start()

    async def last_words(self) -> str:
        """The last line, once the process is gone; or nothing."""
        self.file.close()
        await shared_threads().run(partial(self._thread.join, _LAST_WORDS))
        return self._lines[-1] if self._lines else ""

    def _read(self, reading: int) -> None:
        with os.fdopen(reading, errors="replace") as lines:
            while line := lines.readline(_LONGEST_LINE):
                if text := "".join([each if each.isprintable() else " " for each in line]).strip():
                    self._lines.append(text)
                    _log.info("%s: %s", self._server, text)


@asynccontextmanager
async def over_pipes(
    at: Process, stderr: Stderr, on_end: Callable[[], None]
) -> AsyncGenerator[Streams]:
    """Start the process. It is asked to end, then terminated, then killed, when this is left.

    Raises:
        OSError: It cannot be started.
    """
    asked = StdioServerParameters(
        command=at.command, args=list(at.args), env=dict(at.env), cwd=at.cwd
    )
    try:
        async with stdio_client(asked, errlog=stderr.file) as (reading, writing):
            yield _Watched(reading, on_end), writing
    finally:
        stderr.file.close()


@asynccontextmanager
async def over_http(at: Endpoint) -> AsyncGenerator[Streams]:
    """Speak to the server at this address. Nothing is sent before the first request."""
    client = _Client(
        headers=dict(at.headers),
        timeout=httpx2.Timeout(_CONNECT, read=None),
        event_hooks={"response": [_note_refusal]},
    )
    async with client, streamable_http_client(at.url, http_client=client) as streams:
        yield streams


class _Watched:
    """The messages of a process; tells when there will be no more."""

    def __init__(self, inner: Messages, on_end: Callable[[], None]):
        self._inner = inner
        self._on_end = on_end

    async def receive(self) -> SessionMessage | Exception:
        try:
            return await self._inner.receive()
        except EndOfStream:
            self._on_end()
            raise

    async def aclose(self) -> None:
        await self._inner.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class _Client(httpx2.AsyncClient):
    """Notes that a request did not get as far as the server."""

    async def send(self, request: httpx2.Request, **how: Any) -> httpx2.Response:
        try:
            return await super().send(request, **how)
        except httpx2.ConnectError:
            if (told := exchange.get()) is not None:
                told.unsent = "nobody answers at its address"
            raise


async def _note_refusal(response: httpx2.Response) -> None:
    told, status = exchange.get(), response.status_code
    if told is None or status < 400:
        return
    told.status = status
    if _SESSION in response.request.headers:
        # The protocol wants a 404. Servers made after the TypeScript library's examples say 400,
        # and what they mean by it in a body that is no message of the protocol.
        said_so = status == 400 and b"session" in (await response.aread()).lower()
        if status == 404 or said_so:
            told.unsent = "the server has started anew"
