"""Following a conversation: its turns, and its events from any point on."""

from collections import deque
from typing import Self

from sidetask.core.events import Event, Lagged
from sidetask.core.ids import ConversationId
from sidetask.runtime.driver import Driver
from sidetask.runtime.response import ChatResponse
from sidetask.stores.base import Store
from sidetask.tasks.aio.outbox import Outbox
from sidetask.tasks.aio.streams import Subscription

PAGE = 1000
"""Facts that are asked of a database at once."""


class TurnsCursor:
    """Turns that were admitted before, then every turn as it is admitted."""

    def __init__(self, driver: Driver, *, after: str | None, until_idle: bool) -> None:
        self._driver = driver
        self._until_idle = until_idle
        self._backlog = deque(_kept(driver, after))
        self._next = driver.admitted

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatResponse:
        driver = self._driver
        while not (turn := self._take()):
            if driver.closed or (self._until_idle and driver.is_idle):
                raise StopAsyncIteration
            await driver.changed()
        turn.given = True
        return turn

    def _take(self) -> ChatResponse | None:
        if self._backlog:
            return self._backlog.popleft()
        oldest = self._driver.admitted - len(self._driver.turns)
        self._next = max(self._next, oldest)
        if self._next == self._driver.admitted:
            return None
        self._next += 1
        return self._driver.turns[self._next - 1 - oldest]


def _kept(driver: Driver, after: str | None) -> list[ChatResponse]:
    """The kept turns after `after`; without it, those that nobody was given."""
    if after is None:
        return [turn for turn in driver.turns if not turn.given]
    places = [place for place, turn in enumerate(driver.turns) if turn.turn_id == after]
    return driver.turns[places[0] + 1 if places else 0 :]


class _Mark:
    """Up to where the store tells, and from where the live events do."""

    __slots__ = ("last", "replaying")

    def __init__(self, last: int, *, replaying: bool) -> None:
        self.last = last
        self.replaying = replaying

    def is_new(self, event: Event) -> bool:
        """Whether the replay does not tell it; a delta older than its last fact is in there."""
        if self.replaying:
            return False
        return event.seq > self.last or (event.live and event.seq == self.last)


class EventTail:
    """A conversation's facts after a seq, from the store, and then its events as they come.

    The subscription stands from the beginning, so that nothing falls between store and live. What
    it loses while the store still tells is told by the store, and is no loss.
    """

    def __init__(
        self,
        store: Store,
        outbox: Outbox,
        conversation_id: ConversationId,
        *,
        after: int | None,
        follow: bool,
    ) -> None:
        self._store = store
        self._conversation_id = conversation_id
        self._mark = mark = _Mark(after or 0, replaying=after is not None)
        self._page: deque[Event | Lagged] = deque()
        self._from_the_first_kept = not after
        self._live: Subscription | None = None
        if follow:
            wanted = None if after is None else mark.is_new
            self._live = outbox.journal(conversation_id).listen().subscribe(wanted)

    def close(self) -> None:
        """Stop listening."""
        if self._live is not None:
            self._live.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event | Lagged:
        while not self._page:
            if not self._mark.replaying:
                if self._live is None:
                    raise StopAsyncIteration
                return await anext(self._live)
            await self._load()
        return self._page.popleft()

    async def _load(self) -> None:
        """The next page of the replay. One that is not full is the last, unless live events were
        lost while it was asked for."""
        live, mark = self._live, self._mark
        limit = PAGE if self._store.durable else None
        before = live.position if live is not None else 0
        facts = await self._store.facts(self._conversation_id, after=mark.last, limit=limit)
        if facts:
            gone = 0 if self._from_the_first_kept else facts[0].seq - mark.last - 1
            if gone:
                self._page.append(Lagged(gone))
            self._from_the_first_kept = False
            self._page.extend(facts)
            mark.last = facts[-1].seq
        lost = live is not None and live.position != before
        mark.replaying = lost or (limit is not None and len(facts) == limit)
