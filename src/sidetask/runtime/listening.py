"""Following a conversation: its turns, and its events from any point on."""

from collections import deque
from typing import Self

from sidetask.core.events import Event
from sidetask.core.ids import ConversationId, TurnId
from sidetask.runtime.driver import Driver
from sidetask.runtime.response import ChatResponse
from sidetask.stores.base import Store
from sidetask.tasks.aio.outbox import Outbox
from sidetask.tasks.aio.streams import Lagged


class TurnsCursor:
    """Every turn of a conversation, asked for or not, as it is admitted."""

    def __init__(self, driver: Driver, *, first: int, until_idle: bool) -> None:
        self._driver = driver
        self._next = first
        self._until_idle = until_idle

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatResponse:
        driver = self._driver
        while True:
            oldest = driver.admitted - len(driver.turns)
            self._next = max(self._next, oldest)
            if self._next < driver.admitted:
                self._next += 1
                driver.seen = max(driver.seen, self._next)
                return driver.turns[self._next - 1 - oldest]
            if driver.closed or (self._until_idle and driver.is_idle):
                raise StopAsyncIteration
            await driver.changed()


def position_after(driver: Driver, turn_id: TurnId | None) -> int:
    """The place of the first turn after `turn_id`, or after the last one somebody has seen."""
    if turn_id is None:
        return driver.seen
    oldest = driver.admitted - len(driver.turns)
    for index, turn in enumerate(driver.turns):
        if turn.turn_id == turn_id:
            return oldest + index + 1
    return oldest


class EventTail:
    """A conversation's facts after a seq, from the store, and then its events as they come."""

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
        self._after = after
        self._follow = follow
        self._live = outbox.journal(conversation_id).listen().subscribe()
        self._replay: deque[Event] | None = None
        self._last = 0

    def close(self) -> None:
        """Stop listening."""
        self._live.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event | Lagged:
        if self._replay is None:
            await self._load()
        assert self._replay is not None
        if self._replay:
            return self._replay.popleft()
        while self._follow:
            event = await anext(self._live)
            if isinstance(event, Lagged) or event.live or event.seq > self._last:
                return event
        self.close()
        raise StopAsyncIteration

    async def _load(self) -> None:
        """The subscription stands already, so that nothing falls between store and live."""
        if self._after is None:
            self._replay = deque()
            return
        facts = await self._store.facts(self._conversation_id, after=self._after)
        self._replay = deque(facts)
        self._last = facts[-1].seq if facts else self._after
