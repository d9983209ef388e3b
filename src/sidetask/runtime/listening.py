"""Following a conversation: its turns, and its events from any point on."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
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


_log = logging.getLogger(__name__)


class TurnsCursor:
    """Turns that were admitted before, then every turn as it is admitted. Iterate it.

    It holds no turn up, and only the last ones are kept: a reader that is too slow is told by
    `missed` how many it lost.
    """

    def __init__(self, driver: Driver, *, after: str | None, until_idle: bool) -> None:
        self._driver = driver
        self._until_idle = until_idle
        self._backlog = deque(_kept(driver, after))
        self._next = driver.admitted
        self.missed = 0
        """How many turns were lost so far, because this reader was too slow."""

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
        if self._next < oldest:
            lost, self._next = oldest - self._next, oldest
            self.missed += lost
            _log.warning("a reader of turns was too slow: %d turns lost", lost)
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

    __slots__ = ("_wanted", "last", "replaying")

    def __init__(
        self, last: int, *, replaying: bool, wanted: Callable[[Event], bool] | None
    ) -> None:
        self.last = last
        self.replaying = replaying
        self._wanted = wanted

    def is_new(self, event: Event) -> bool:
        """Whether the replay does not tell it; a delta older than its last fact is in there."""
        if self.replaying or (self._wanted is not None and not self._wanted(event)):
            return False
        return event.seq > self.last or (event.live and event.seq == self.last)


class EventTail:
    """A conversation's facts after a seq, from the store, and then its events as they come.
    Iterate it; leave it by `close()`, or drop it.

    The subscription stands from the beginning, so that nothing falls between store and live. What
    it loses while the store still tells is told by the store, and is no loss. What a slow reader
    loses later is told as `Lagged`; a tail that began after a seq then tells the facts among it
    from the store, as far as they are kept, so that it loses live events alone.
    """

    def __init__(
        self,
        store: Store,
        outbox: Outbox,
        conversation_id: ConversationId,
        *,
        after: int | None,
        follow: bool,
        wanted: Callable[[Event], bool] | None = None,
    ) -> None:
        self._store = store
        self._conversation_id = conversation_id
        self._wanted = wanted
        self._replays = after is not None
        self._mark = mark = _Mark(after or 0, replaying=self._replays, wanted=wanted)
        self._page: deque[Event | Lagged] = deque()
        self._from_the_first_kept = not after
        self._is_behind = False
        self._held: Event | None = None  # it came after facts that were lost
        self._live: Subscription | None = None
        if follow:
            fits = mark.is_new if self._replays else wanted
            self._live = outbox.journal(conversation_id).subscribe(fits)

    def close(self) -> None:
        """Stop listening. A reader that waits in another asyncio task ends."""
        self._page.clear()
        self._mark.replaying = False
        self._held = None
        live, self._live = self._live, None
        if live is not None:
            live.close()

    def ready(self) -> Event | Lagged | None:
        """The next event if there is one now."""
        if self._page:
            return self._page.popleft()
        live, mark = self._live, self._mark
        if live is None or mark.replaying or self._held is not None:
            return None
        has_kept = bool(live.kept)
        found = live.ready()
        if found is None or not self._replays:
            return found
        if isinstance(found, Lagged):
            self._is_behind = True
        elif self._is_behind:
            self._is_behind = has_kept
            self._held = found
            return None
        elif not found.live:
            mark.last = found.seq
        return found

    @property
    def is_over(self) -> bool:
        """Nothing more will come than what is `ready` now."""
        has_more = self._mark.replaying or self._held is not None
        return not has_more and (self._live is None or self._live.is_over)

    async def more(self) -> None:
        """Wait until something may be ready, or it is over."""
        if self._mark.replaying:
            await self._load()
        elif self._held is not None:
            await self._fill(self._held)
        elif self._live is not None:
            await self._live.more()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event | Lagged:
        while (found := self.ready()) is None:
            if self.is_over:
                raise StopAsyncIteration
            await self.more()
        return found

    async def _load(self) -> None:
        """The next page of the replay. One that is not full is the last, unless live events were
        lost while it was asked for."""
        live, mark = self._live, self._mark
        before = live.position if live is not None else 0
        facts, is_last = await self._facts()
        if live is not self._live:
            return  # it was closed meanwhile
        if facts:
            gone = 0 if self._from_the_first_kept else facts[0].seq - mark.last - 1
            if gone:
                self._page.append(Lagged(gone))
            self._from_the_first_kept = False
            self._tell(facts)
        lost = live is not None and live.position != before
        mark.replaying = lost or not is_last

    async def _fill(self, held: Event) -> None:
        """The next page of the facts before `held`, which were lost; at last that event itself."""
        facts, is_last = await self._facts()
        if held is not self._held:
            return  # it was closed meanwhile
        end = held.seq + held.live  # a live event has the seq of the fact before it
        between = [fact for fact in facts if fact.seq < end]
        self._tell(between)
        if is_last or len(between) < len(facts):
            self._held = None
            self._page.append(held)
            self._mark.last = held.seq

    async def _facts(self) -> tuple[Sequence[Event], bool]:
        """The next page of facts, and whether it is the last one."""
        limit = PAGE if self._store.durable else None
        facts = await self._store.facts(self._conversation_id, after=self._mark.last, limit=limit)
        return facts, limit is None or len(facts) < limit

    def _tell(self, facts: Sequence[Event]) -> None:
        self._page.extend(facts if self._wanted is None else filter(self._wanted, facts))
        if facts:
            self._mark.last = facts[-1].seq
