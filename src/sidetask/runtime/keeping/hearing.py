"""Reading what other processes have written, when the store hints at it.

One reading goes on at a time. What is hinted at meanwhile is due for the next one, however often:
a burst of hints makes one reading. While the database is away what is due stays due.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Generic, TypeVar

from sidetask.core.errors import StoreClosedError, StoreError, StoreUnavailableError
from sidetask.core.ids import ConversationId
from sidetask.stores.base import Store
from sidetask.tasks.aio.spawn import spawn, wait_done

T = TypeVar("T")

PAUSE = 1.0
"""Seconds until a database that was away is asked again."""

_log = logging.getLogger(__name__)


class Hearing(Generic[T]):
    """Listens to a store. `concerned` says what a hint is about, as far as it is of interest;
    `read` reads that, and takes it in."""

    def __init__(
        self,
        store: Store,
        concerned: Callable[[ConversationId | None], Iterable[T]],
        read: Callable[[Collection[T]], Awaitable[None]],
    ) -> None:
        self._store = store
        self._concerned = concerned
        self._read = read
        self._due: dict[T, None] = {}
        self._reading: asyncio.Task[None] | None = None
        self._unlisten: Callable[[], None] | None = None

    def start(self) -> None:
        """Listen; what there is already is for the caller to read, afterwards. Twice is fine."""
        if self._unlisten is None:
            self._unlisten = self._store.listen(self._heard)
            self._due.clear()

    def ask(self, which: T) -> None:
        """Read this, too."""
        self._due[which] = None
        self._begin()

    async def stop(self) -> None:
        """Hear of nothing more. Twice is fine."""
        unlisten, self._unlisten = self._unlisten, None
        if unlisten is not None:
            unlisten()
        self._due.clear()
        if self._reading is not None:
            self._reading.cancel()
            await wait_done(self._reading)

    def _heard(self, which: ConversationId | None) -> None:
        for each in self._concerned(which):
            self.ask(each)

    def _begin(self) -> None:
        if self._due and self._reading is None and self._unlisten is not None:
            self._reading = spawn(self._read_due(), name="what others wrote", done=self._has_read)

    def _has_read(self, _: "asyncio.Task[None]") -> None:
        self._reading = None
        self._begin()  # it was stopped, and started again

    async def _read_due(self) -> None:
        while self._due:
            due, self._due = self._due, {}
            try:
                await self._read(tuple(due))
            except StoreClosedError:
                self._due.clear()
            except StoreUnavailableError:
                self._due = {**due, **self._due}
                await asyncio.sleep(PAUSE)
            except StoreError:
                _log.exception("what other processes wrote cannot be read")
