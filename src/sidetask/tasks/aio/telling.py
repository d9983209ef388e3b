"""Telling readers what is on the disk, and nothing before it is.

Where a store outlives the process, a fact is told to readers once it is safe: what a reader has
seen is still there after a crash, under the same number. The runtime's own wiring (taps) hears
of it at once. One asyncio task waits for all that was told meanwhile, so a batch costs one wait.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from sidetask.core.errors import StoreUnavailableError
from sidetask.core.events import Event
from sidetask.core.ids import ConversationId
from sidetask.tasks.aio.spawn import spawn
from sidetask.tasks.aio.streams import Stream

PAUSE = 0.2
"""Seconds until a database that is away is asked again."""

_log = logging.getLogger(__name__)


async def when_safe(stored: Callable[[], Awaitable[None]]) -> None:
    """Wait until all that was handed over is safe, however long its database is away."""
    while True:
        try:
            return await stored()
        except StoreUnavailableError:  # what was taken is kept there, and tried again
            await asyncio.sleep(PAUSE)


class Telling:
    """Events on their way to readers, in order."""

    def __init__(self, stored: Callable[[], Awaitable[None]]) -> None:
        self._stored = stored
        self._waiting: list[tuple[Stream, Event]] = []
        self._batch: list[tuple[Stream, Event]] = []
        """What waits for the disk now."""
        self._task: asyncio.Task[None] | None = None

    def tell(self, stream: Stream, event: Event) -> None:
        """Tell the stream's readers when all that was appended up to now is safe."""
        if not stream.has_readers:
            return
        if event.live and self._task is None:
            stream.tell(event)  # nothing is before it
            return
        self._waiting.append((stream, event))
        if self._task is None:
            self._task = spawn(self._tell(), name="telling what is stored")

    def hurry(self, stream: Stream) -> None:
        """The stream is about to end: its readers get what waits now."""
        for waiting in (self._batch, self._waiting):
            for each, event in waiting:
                if each is stream:
                    stream.tell(event)
            waiting[:] = [told for told in waiting if told[0] is not stream]

    def drop(self, conversation_id: ConversationId) -> None:
        """What waits of this conversation will never be safe: another process has it."""
        for waiting in (self._batch, self._waiting):
            waiting[:] = [told for told in waiting if told[1].conversation_id != conversation_id]

    async def _tell(self) -> None:
        try:
            while self._waiting:
                self._batch, self._waiting = self._waiting, []
                await self._safe()
                batch, self._batch = self._batch, []
                for stream, event in batch:
                    stream.tell(event)
        finally:
            self._task = None

    async def _safe(self) -> None:
        while self._batch:  # until it is safe, or all of it was told in a hurry
            try:
                await self._stored()
                return
            except StoreUnavailableError:  # what was taken is kept there, and tried again
                await asyncio.sleep(PAUSE)
            except Exception:  # noqa: BLE001 - the one boundary: its writer was told of a refusal
                _log.exception("the store refused what readers would have been told")
                self._batch.clear()


class Silence(Telling):
    """Tells readers nothing."""

    def __init__(self) -> None:
        """Waits for nothing, either."""

    def tell(self, stream: Stream, event: Event) -> None:
        pass

    def drop(self, conversation_id: ConversationId) -> None:
        pass
