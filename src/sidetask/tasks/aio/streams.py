"""Events from the runtime to whoever listens.

One append-only log, many cursors: publishing appends once and wakes each sleeping reader
once a batch, however many events there are. Nobody is waited for. A reader that falls
behind by more than the bound is told exactly how many events it missed, and still gets the
last event of each run and task, up to the same bound.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Self
from weakref import ReferenceType, ref

from sidetask.core.events import Event, Lagged
from sidetask.core.ids import ConversationId
from sidetask.tasks.aio.sleepers import NOBODY, sleep_among, wake_all

BOUND = 1024
"""Events that a reader may lag behind before it loses some."""

_NO_EVENTS: list[Event] = []
"""Of all streams without readers."""


class Stream:
    """A log of events with any number of readers."""

    __slots__ = (
        "_asleep",
        "_base",
        "_bound",
        "_log",
        "closed",
        "heard",
        "on_readers",
        "readers",
        "taps",
    )

    def __init__(self, bound: int = BOUND) -> None:
        self._bound = bound
        self._base = 0  # the position of _log[0]
        self._log = _NO_EVENTS
        self.readers: tuple[ReferenceType[Subscription], ...] = ()
        """Who listens besides the runtime's own wiring. They are woken by `tell`."""
        self.taps: tuple[Callable[[Event], None], ...] = ()
        """The runtime's own wiring: each is called with every event as it lands."""
        self._asleep = NOBODY
        self.closed = False
        self.heard = False
        """Whether anybody listens. Kept, not computed: every event asks."""
        self.on_readers: Callable[[Self], None] | None = None
        """Called with this stream when a reader has come or gone: whoever makes events for
        readers alone."""

    @property
    def end(self) -> int:
        return self._base + len(self._log)

    @property
    def has_readers(self) -> bool:
        """Whether anybody listens besides the runtime's own wiring."""
        return bool(self.readers)

    def publish(self, event: Event) -> None:
        for tap in self.taps:
            tap(event)
        if self.readers:
            self.tell(event)

    def tell(self, event: Event) -> None:
        """Publish to readers alone."""
        if not self.readers:
            return
        self._log.append(event)
        if self._asleep:
            self._wake()
        if len(self._log) >= 2 * self._bound:
            self._trim()

    def tap(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call `listener` with each event as it lands. It must not raise or block.

        For the runtime's own wiring. Returns what ends it.
        """
        self.taps = (*self.taps, listener)
        self._look()
        return partial(self.untap, listener)

    def untap(self, listener: Callable[[Event], None]) -> None:
        """Call it no more."""
        self.taps = tuple([tap for tap in self.taps if tap != listener])
        self._look()

    def subscribe(self, wanted: Callable[[Event], bool] | None = None) -> "Subscription":
        """A view of all events from now on for which `wanted` is true."""
        self._log = self._log or []
        subscription = Subscription(self, wanted)
        self.readers = (*self.readers, ref(subscription, self._gone))
        self._look()
        if self.on_readers is not None:
            self.on_readers(self)
        return subscription

    def close(self) -> None:
        """End every subscription, once it has read what is there."""
        self.closed = True
        self.taps = ()
        self._look()
        self._wake()

    def leave(self, subscription: "Subscription") -> None:
        self.readers = tuple([each for each in self.readers if each() is not subscription])
        self._gone(None)
        self._wake()

    def _gone(self, reader: "ReferenceType[Subscription] | None") -> None:
        if reader is not None:
            self.readers = tuple([other for other in self.readers if other is not reader])
        if not self.readers:
            self._base += len(self._log)
            self._log.clear()
        self._look()
        if self.on_readers is not None:
            self.on_readers(self)

    def _look(self) -> None:
        self.heard = bool(self.readers or self.taps)

    def _wake(self) -> None:
        wake_all(self._asleep)

    def _trim(self) -> None:
        old = self._log[: self._bound]
        del self._log[: self._bound]
        for reader in self.readers:
            subscription = reader()
            if subscription is not None:
                subscription.overtaken(old[max(subscription.position - self._base, 0) :])
        self._base += len(old)

    def at(self, position: int) -> Event | None:
        index = position - self._base
        return self._log[index] if index < len(self._log) else None

    async def more(self) -> None:
        self._asleep = self._asleep or []
        await sleep_among(self._asleep)


class Subscription:
    """One reader's cursor. Iterate it; leave it by `close()`, a `with` block, or the end."""

    __slots__ = (
        "__weakref__",
        "_bound",
        "_closed",
        "_kept",
        "_lagged",
        "_stream",
        "_wanted",
        "position",
    )

    def __init__(self, stream: Stream, wanted: Callable[[Event], bool] | None) -> None:
        self._stream = stream
        self._wanted = wanted
        self._bound = BOUND
        self._kept: list[Event] = []
        self._lagged = Lagged(0)
        self._closed = False
        self.position = stream.end

    def overtaken(self, lost: list[Event]) -> None:
        """Note what the log drops before this reader has seen it."""
        if not lost:
            return
        self.position += len(lost)
        wanted = [event for event in lost if self._may_be_wanted(event)]
        ends = [event for event in wanted if event.terminal]
        kept = ends[: self._bound - len(self._kept)]
        self._kept.extend(kept)
        self._lagged = Lagged(
            self._lagged.missed + len(wanted) - len(kept),
            self._lagged.ended + len(ends) - len(kept),
        )

    def _may_be_wanted(self, event: Event) -> bool:
        try:
            return self._wanted is None or self._wanted(event)
        except Exception:  # noqa: BLE001 - the one boundary: its reader hears of it, not who tells
            return True

    def ready(self) -> Event | Lagged | None:
        """The next event if there is one now."""
        if self._lagged.missed:
            lagged, self._lagged = self._lagged, Lagged(0)
            return lagged
        if self._kept:
            return self._kept.pop(0)
        while (event := self._stream.at(self.position)) is not None:
            self.position += 1
            if self._wanted is None or self._wanted(event):
                return event
        return None

    @property
    def kept(self) -> Sequence[Event]:
        """The ends among what was lost: they come next, before the rest of the log."""
        return self._kept

    @property
    def end(self) -> int:
        """Where the next event will be."""
        return self._stream.end

    @property
    def is_over(self) -> bool:
        """Nothing more will come than what is `ready` now."""
        return self._closed or self._stream.closed

    def is_past(self, end: int) -> bool:
        """Whether everything before `end` was given to the reader."""
        return self._closed or (self.position >= end and not self._kept)

    async def more(self) -> None:
        """Sleep until something has come, or it is over."""
        await self._stream.more()

    def close(self) -> None:
        """Stop listening. A reader that waits in another asyncio task ends."""
        if not self._closed:
            self._closed = True
            self._stream.leave(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event | Lagged:
        while True:
            if self._closed:
                raise StopAsyncIteration
            found = self.ready()
            if found is not None:
                return found
            if self._stream.closed:
                raise StopAsyncIteration
            await self._stream.more()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def of_conversation(conversation_id: ConversationId | None) -> Callable[[Event], bool] | None:
    """A filter for one conversation's events; None lets everything through."""
    if conversation_id is None:
        return None
    return lambda event: event.conversation_id == conversation_id
