"""A conversation as server-sent events: the bytes that a browser's `EventSource` reads.

Each event is one frame: its kind as `event:`, what `core.codec` writes of it as `data:`, and its
place as `id:`, which is the `seq` of a fact and `seq.index` of a live event. A browser whose
connection was cut hands in the last id that it saw; the facts after it are replayed, and then
it goes on live, each event once and in order. Live events are not replayed: what they add up to
is in a fact.

Two frames are no events of the conversation: `lagged` (the reader was too slow; the data is a
`Lagged`, and the facts among what it missed follow) and `closed`, the last one of all.

A frame can't be forged by what it carries: the data is JSON in ASCII, on one line.
"""

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from functools import partial
from math import inf
from typing import Self

from sidetask.core.codec import event_to_json, value_to_json
from sidetask.core.errors import CodecError, ConfigurationError, InvalidInputError
from sidetask.core.errors.checks import check_kind
from sidetask.core.events import Event, EventKind, Lagged
from sidetask.core.jsons import Json
from sidetask.runtime.handle import AgentHandle
from sidetask.runtime.invocation.kinds import Kinds, Wanted
from sidetask.runtime.runtime import Runtime

PING = 15.0
"""Seconds of silence after which a comment is sent: proxies cut lines that say nothing."""
RETRY = 1.0
"""Seconds that a browser waits before it connects again."""
CHUNK = 32 * 1024
"""Bytes that are put together before a reader is waited for: many deltas are one write."""

_ID = re.compile(r"(\d{1,18})(?:\.\d{1,18})?", re.ASCII)
_PING = b": ping\n\n"
# As ASCII: half a surrogate is no UTF-8. What the codec writes has no circles and no NaN.
_write = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode

_log = logging.getLogger(__name__)


def sse(
    chat: AgentHandle | tuple[Runtime, str],
    last_event_id: str | None = None,
    *,
    kinds: Kinds = EventKind.ANY,
    ping: float = PING,
    retry: float = RETRY,
) -> "Frames":
    """A conversation's events as chunks of `text/event-stream`, for the body of a response.

    `chat` is a live agent, or a runtime and the id of a conversation. `last_event_id` is what the
    browser says in its `Last-Event-ID`; without it, or if this conversation has not come that far
    (it was forgotten and begun anew), the first frames are all facts that are kept. `kinds`
    narrows what is told, and may name views. After `ping` seconds of silence a comment is sent.
    `retry` is how many seconds a browser waits before it connects again.

    The stream ends with the agent, or the runtime. A reader that stops reading holds up nobody.

    Raises:
        InvalidInputError: That is no id of an event.
        ConfigurationError: No such kind, or `ping` or `retry` is no number of seconds.
        AgentNotStartedError: The agent is shut down: there is nothing to follow. A 204 tells a
            browser not to come back.
    """
    check_kind("ping", ping, int, float)
    check_kind("retry", retry, int, float)
    if not (ping > 0 and 0 <= retry < inf):
        raise ConfigurationError(f"ping={ping}, retry={retry}: give seconds, of a ping more than 0")
    if last_event_id is not None:
        check_kind("last_event_id", last_event_id, str)
    return Frames(chat, _seq_of(last_event_id), Wanted(kinds, None, None), ping=ping, retry=retry)


class Frames:
    """Chunks of bytes, each of whole frames. Iterate it once; it lets go at its end, by
    `aclose()`, when a read is cancelled, and when it is dropped.

    Raises (from the iteration):
        StoreError: The events cannot be read. Let the connection break: the browser comes back.
    """

    def __init__(
        self,
        chat: AgentHandle | tuple[Runtime, str],
        after: int,
        wanted: Wanted,
        *,
        ping: float,
        retry: float,
    ) -> None:
        if isinstance(chat, AgentHandle):
            self._open = chat.events
        else:
            check_kind("chat", chat, AgentHandle, tuple)
            runtime, conversation_id = chat
            check_kind("the first of chat", runtime, Runtime)
            self._open = partial(runtime.events, conversation_id)
        self._wanted = wanted
        self._ping = ping
        self._after = after
        self._tail = self._open(after=after, wanted=wanted.filter())
        self._greeting = b"retry: %d\n\n" % round(retry * 1000)
        self._is_over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._greeting:  # at once: the browser learns that it is connected
            greeting, self._greeting = self._greeting, b""
            return greeting
        if self._is_over:
            raise StopAsyncIteration
        try:
            return await self._next()
        except BaseException:  # the one boundary: a reader that has left, or cannot go on
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Stop listening. Twice is fine."""
        self._is_over = True
        self._greeting = b""
        self._tail.close()

    async def _next(self) -> bytes:
        if self._after:
            await self._check_place()
        silent_until = asyncio.get_running_loop().time() + self._ping
        while not (chunk := self._ready()):
            if self._is_over:
                raise StopAsyncIteration
            if self._tail.is_over:
                await self.aclose()
                return _frame("closed", {}).encode("ascii")
            silence = asyncio.timeout_at(silent_until)
            try:
                async with silence:
                    await self._tail.more()
            except TimeoutError:
                if not silence.expired():
                    raise
                return _PING
        return chunk

    async def _check_place(self) -> None:
        """Begin with the first fact if the conversation has not come as far as the id says."""
        after, self._after = self._after, 0
        async for _ in self._open(after=after - 1, follow=False):
            return
        self._tail.close()
        self._tail = self._open(after=0, wanted=self._wanted.filter())

    def _ready(self) -> bytes:
        """The frames that need not be waited for, as many as make a chunk."""
        chunk = ""
        while len(chunk) < CHUNK and (found := self._tail.ready()) is not None:
            chunk += _told(found) if isinstance(found, Lagged) else self._frames(found)
        return chunk.encode("ascii")

    def _frames(self, event: Event) -> str:
        """The event in the shapes that are wanted; with the last of them its id counts as seen."""
        shapes = self._wanted.shapes(event)
        try:
            written = [_frame(each.kind, event_to_json(each)) for each in shapes]
        except CodecError:  # a tool's own metadata, say: it would break every connection anew
            _log.exception("%s %s cannot be written and is told as missed", event.kind, event.id)
            written = [_told(Lagged(1, int(event.terminal)))]
        place = event.id.rpartition(":")[2]
        written[-1] = f"id: {place}\n{written[-1]}"
        return "".join(written)


def _seq_of(last_event_id: str | None) -> int:
    """The fact that an id names, or the one before its live event; 0: none."""
    if not last_event_id:
        return 0
    found = _ID.fullmatch(last_event_id)
    if found is None:
        raise InvalidInputError(f"{last_event_id[:40]!r} is no id of an event, such as 12 or 12.3")
    return int(found[1])


def _told(lagged: Lagged) -> str:
    return _frame("lagged", value_to_json(Lagged, lagged))


def _frame(name: str, data: Mapping[str, Json]) -> str:
    return f"event: {name}\ndata: {_write(data)}\n\n"
