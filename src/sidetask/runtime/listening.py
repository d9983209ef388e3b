"""Following a conversation: its turns, and its events from any point on."""

from collections import deque
from typing import Self

from sidetask.core.events import Event, Lagged
from sidetask.core.ids import ConversationId
from sidetask.runtime.driver import Driver
from sidetask.runtime.response import ChatResponse
from sidetask.stores.base import Store
from sidetask.tasks.aio.outbox import Outbox


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
        self._replay: deque[Event | Lagged] | None = None
        self._last = 0
        """The last fact of the replay."""

    def close(self) -> None:
        """Stop listening."""
        self._live.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event | Lagged:
        if self._replay is None:
            self._replay = await self._load()
        if self._replay:
            return self._replay.popleft()
        while self._follow:
            event = await anext(self._live)
            if isinstance(event, Lagged) or event.seq > self._last:
                return event
            if event.live and event.seq == self._last:  # older ones are part of the replay
                return event
        self.close()
        raise StopAsyncIteration

    async def _load(self) -> deque[Event | Lagged]:
        """The subscription stands already, so that nothing falls between store and live."""
        if self._after is None:
            return deque()
        facts = await self._store.facts(self._conversation_id, after=self._after)
        self._last = facts[-1].seq if facts else self._after
        gone = facts[0].seq - self._after - 1 if facts and self._after else 0
        return deque([Lagged(gone), *facts] if gone else facts)
