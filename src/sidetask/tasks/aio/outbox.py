"""The one way out for events: stamped, stored, then published.

A change is made first, then its event goes through here. What the store refuses is not
published. Facts get the next `seq` of their conversation; live events get none, and are not
even made when nobody listens.

While a database is away, facts are refused, and with them what they would tell of. Those that
tell of what is done already (`Event.owed`: an end, a message that was committed) wait here, in
order, and no later fact of their conversation comes before them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

from sidetask.core.errors import StoreError, StoreUnavailableError
from sidetask.core.events import Event, LiveEvent, TaskProgressed
from sidetask.core.ids import ConversationId, RunId, TaskId, TurnId, value
from sidetask.stores.base import Store
from sidetask.tasks.aio.clock import Clock
from sidetask.tasks.aio.spawn import spawn
from sidetask.tasks.aio.streams import Stream
from sidetask.tasks.aio.telling import PAUSE, Silence, Telling

_log = logging.getLogger(__name__)


class Origin(Protocol):
    """Whose an event is."""

    @property
    def turn_id(self) -> TurnId | None: ...
    @property
    def run_id(self) -> RunId | None: ...
    @property
    def parent_id(self) -> TaskId | None:
        """The task that the turn, or the task, works for."""
        ...


@value
class Of:
    """A turn, a run, or nobody."""

    turn_id: TurnId | None = None
    run_id: RunId | None = None
    parent_id: TaskId | None = None


CONVERSATION = Of()
"""The conversation as a whole: no turn of it, and no task."""


class Journal(Stream):
    """One conversation's way out: its counters, and its stream for whoever listens."""

    __slots__ = (
        "_append",
        "_everything",
        "_now",
        "_outbox",
        "_telling",
        "conversation_id",
        "index",
        "late",
        "seq",
    )

    def __init__(self, conversation_id: ConversationId, outbox: "Outbox") -> None:
        super().__init__()
        self.conversation_id = conversation_id
        self._outbox = outbox
        self._append = outbox.append
        self._now = outbox.now
        self._everything = outbox.everything
        self._telling = outbox.telling
        self.late: tuple[Event, ...] = ()
        """What the store did not take yet."""
        self.seq = 0
        self.index = 0

    def fact(self, of: Origin, made: type[Event], /, **fields: object) -> None:
        """Make, store and publish a fact of class `made`."""
        self.enter(of, made, fields)

    def enter(self, of: Origin, made: type[Event], fields: dict[str, object]) -> None:
        """As `fact`, for who has a dict of the fields: by name it would be made twice more."""
        if self.late:
            self._catch_up(made)
        seq = self.seq + 1
        event = made(
            seq,
            self._now(),
            self.conversation_id,
            of.turn_id,
            of.run_id,
            of.parent_id,
            **fields,
        )
        if self.late:
            self.late += (event,)
            return
        try:
            self._append(event)
        except StoreUnavailableError:
            if not made.owed:
                raise
            self.late += (event,)
            self._outbox.owe(self)
            return
        self.seq = seq
        self._publish(event)

    def catch_up(self) -> None:
        """Hand over what is late.

        Raises:
            StoreError: The store does not take it. What it refuses for good is not late any more.
        """
        while self.late:
            event = replace(self.late[0], seq=self.seq + 1)
            try:
                self._append(event)
            except StoreUnavailableError:
                raise
            except StoreError:
                self.late = ()
                raise
            self.late = self.late[1:]
            self.seq += 1
            self._publish(event)

    def _catch_up(self, before: type[Event]) -> None:
        """As `catch_up`; before a fact that is owed itself, only as far as it goes."""
        try:
            self.catch_up()
        except StoreUnavailableError:
            if not before.owed:
                raise

    def fall_silent(self) -> None:
        """Another process has the conversation, and numbers its facts: from now on those of this
        one are neither stored nor told to readers; the runtime's own wiring still hears them."""
        self.late = ()
        if self._telling is not None:
            self._telling.drop(self.conversation_id)
        self._append, self._telling = _nowhere, Silence()

    def live(
        self, of: Origin, made: type[LiveEvent] | type[TaskProgressed], /, **fields: object
    ) -> None:
        """Publish a live event of class `made`, if anybody listens."""
        self.enter_live(of, made, fields)

    def enter_live(
        self, of: Origin, made: type[LiveEvent] | type[TaskProgressed], fields: dict[str, object]
    ) -> None:
        """As `live`, for who has a dict of the fields."""
        if not (self.heard or self._everything.heard):
            return
        self.index = fields["index"] = self.index + 1
        event = made(
            self.seq,
            self._now(),
            self.conversation_id,
            of.turn_id,
            of.run_id,
            of.parent_id,
            **fields,  # pyright: ignore[reportArgumentType] - the fields of `made`
        )
        self._publish(event)

    def _publish(self, event: Event) -> None:
        if self._telling is not None:
            self._publish_when_safe(event, self._telling)
            return
        for tap in self.taps:  # as `publish` does, in the way of every event
            tap(event)
        if self.readers:
            self.tell(event)
        if self._everything.heard:
            self._everything.publish(event)

    def _publish_when_safe(self, event: Event, telling: Telling) -> None:
        for stream in (self, self._everything):
            for tap in stream.taps:
                tap(event)
            telling.tell(stream, event)

    def tell_readers(self, made: type[LiveEvent], /, **fields: object) -> None:
        """Publish a live event of class `made` to readers alone."""
        self.index += 1
        event = made(
            seq=self.seq,
            index=self.index,
            at=self._now(),
            conversation_id=self.conversation_id,
            **fields,  # pyright: ignore[reportArgumentType] - the fields of `made`
        )
        for stream in (self, self._everything):
            if self._telling is not None:
                self._telling.tell(stream, event)
            else:
                stream.tell(event)


def _nowhere(_: Event) -> None: ...


class Outbox:
    """The journals of all conversations, and the stream of everything."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.append: Callable[[Event], None] = store.append
        """Into the store. Kept, like `now`: a method is made anew whenever it is looked up."""
        self.stored: Callable[[], Awaitable[None]] = store.stored
        """Waits until every fact so far is safe."""
        self.now: Callable[[], float] = clock.now
        """Seconds since the epoch."""
        self._journals: dict[ConversationId, Journal] = {}
        self.everything = Stream()
        """The events of all conversations."""
        self.telling = Telling(store.stored) if store.durable else None
        """Holds back what is not on the disk yet; None: the store forgets at exit anyway."""
        self._owing: dict[Journal, None] = {}
        self._paying: asyncio.Task[None] | None = None

    def journal(self, conversation_id: ConversationId) -> Journal:
        """The journal of a conversation, made when first asked for."""
        journal = self._journals.get(conversation_id)
        if journal is None:
            journal = self._journals[conversation_id] = Journal(conversation_id, self)
        return journal

    def find(self, conversation_id: ConversationId) -> Journal | None:
        """The journal of a conversation, if there is one."""
        return self._journals.get(conversation_id)

    def is_heard(self, conversation_id: ConversationId) -> bool:
        """Whether anybody listens to this conversation alone."""
        journal = self.find(conversation_id)
        return journal is not None and journal.heard

    def owe(self, journal: Journal) -> None:
        """A journal has what the store does not take now: it does when the store is back."""
        self._owing[journal] = None
        if self._paying is None:
            self._paying = spawn(self._pay(), name="what the store did not take")

    def forget(self, conversation_id: ConversationId) -> None:
        """End a conversation's streams and drop its counters."""
        journal = self._journals.pop(conversation_id, None)
        if journal is not None:
            journal.late = ()
            self._end(journal)

    def close(self) -> None:
        """End every stream."""
        if self._paying is not None:
            self._paying.cancel()
        self._end(self.everything)
        for conversation_id in tuple(self._journals):
            self.forget(conversation_id)

    async def _pay(self) -> None:
        try:
            while self._owing:
                await asyncio.sleep(PAUSE)
                for journal in tuple(self._owing):
                    await self._pay_for(journal)
        finally:
            self._paying = None

    async def _pay_for(self, journal: Journal) -> None:
        try:
            await self.stored()
            journal.catch_up()
        except StoreUnavailableError:
            return
        except StoreError:
            _log.exception("events are lost: the store refused them")
        self._owing.pop(journal, None)

    def _end(self, stream: Stream) -> None:
        if self.telling is not None:
            self.telling.hurry(stream)
        stream.close()
