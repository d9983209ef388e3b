"""A tap in the line to a server: it notes what was asked, and tampers with the answer.

aimock ends a reply that it cuts by breaking the connection. What it cannot do is done here: a
clean end in the middle, silence, an error between two events, and to notice that the client
has hung up.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

Event = bytes
"""One server-sent event, without the blank line that ends it."""


@dataclass(frozen=True, kw_only=True)
class Tamper:
    """What happens to the events of the replies."""

    after: Callable[[Event], bool]
    """The event after which it happens."""
    then: Literal["end", "break", "stall"] = "end"
    """End cleanly, break the connection, or say nothing more."""
    edit: Callable[[Event], Event] = lambda event: event
    """Applied to each event up to there; an empty one is left out."""
    inject: Event = b""
    """An event sent before the end."""


@dataclass
class Tap:
    """What went over the line. `tamper` may be set at any time, for the next reply."""

    url: str
    tamper: Tamper | None = None
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """The bodies of the requests."""
    times: list[float] = field(default_factory=list[float])
    """When each of them came, by the loop's clock."""
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    """The client closed its side before the reply had ended."""
    stalled: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def tapped(server: str) -> AsyncGenerator[Tap]:
    """A tap in front of the server at this address."""
    address = urlsplit(server)
    assert address.hostname is not None
    assert address.port is not None
    upstream = (address.hostname, address.port)
    open_lines: set[asyncio.Task[Any]] = set()

    async def on_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_lines.add(task)
        try:
            # A line that is still open at the end of a test is cancelled.
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await _serve(tap, upstream, reader, writer)
        finally:
            open_lines.discard(task)
            writer.close()

    listening = await asyncio.start_server(on_line, "127.0.0.1", 0)
    tap = Tap(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    try:
        yield tap
    finally:
        listening.close()
        for line in list(open_lines):
            line.cancel()
        if open_lines:
            await asyncio.wait(open_lines)


async def _serve(
    tap: Tap,
    upstream: tuple[str, int],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """One request and its reply; the connection is not kept."""
    head, body = await _request(reader)
    tap.asked.append(json.loads(body))
    tap.times.append(asyncio.get_running_loop().time())
    down, up = await asyncio.open_connection(*upstream)
    try:
        up.write(head + body)
        status = await down.readuntil(b"\r\n\r\n")
        if b"text/event-stream" in status.lower():
            writer.write(status.replace(b"keep-alive", b"close"))
            await _relay(tap, _events(down), reader, writer)
        else:
            writer.write(status + await down.read())
            await writer.drain()
    finally:
        up.close()


async def _request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if line]
    fields = dict(line.lower().split(b": ", 1) for line in lines[1:])
    body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
    kept = [line for line in lines if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*kept, b"Connection: close", b"", b""]), body


async def _events(reader: asyncio.StreamReader) -> AsyncIterator[Event]:
    """The events of a chunked body."""
    pending = b""
    while size := int(await reader.readline(), 16):
        pending += (await reader.readexactly(size + 2))[:-2]
        *whole, pending = pending.split(b"\n\n")
        for event in whole:
            yield event


async def _relay(
    tap: Tap,
    events: AsyncIterator[Event],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    tamper = tap.tamper
    watch = asyncio.create_task(_notice(tap, reader))
    try:
        async for event in events:
            _send(writer, tamper.edit(event) if tamper else event)
            await writer.drain()
            if tamper is not None and tamper.after(event):
                await _tamper(tap, tamper, writer, watch)
                return
        watch.cancel()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    finally:
        watch.cancel()


async def _tamper(
    tap: Tap, tamper: Tamper, writer: asyncio.StreamWriter, watch: asyncio.Task[None]
) -> None:
    if tamper.inject:
        _send(writer, tamper.inject)
    match tamper.then:
        case "end":
            watch.cancel()
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        case "break":
            watch.cancel()
            await writer.drain()
            writer.transport.abort()
        case "stall":
            await writer.drain()
            tap.stalled.set()
            await watch


def _send(writer: asyncio.StreamWriter, event: Event) -> None:
    if not event:
        return
    data = event + b"\n\n"
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))


async def _notice(tap: Tap, reader: asyncio.StreamReader) -> None:
    """Wait until the client hangs up."""
    with suppress(ConnectionError):
        await reader.read()
    tap.hung_up.set()
