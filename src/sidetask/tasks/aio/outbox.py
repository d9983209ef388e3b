"""The one way out for events: stamped, stored, then published.

A change is made first, then its event goes through here. What the store refuses is not
published. Facts get the next `seq` of their conversation; live events get none, and are not
even made when nobody listens.
"""

from collections.abc import Awaitable, Callable, Mapping

from sidetask.core.events import Event, LiveEvent, TaskProgressed
from sidetask.core.ids import ConversationId
from sidetask.stores.base import Store
from sidetask.tasks.aio.clock import Clock
from sidetask.tasks.aio.streams import Stream
from sidetask.tasks.aio.telling import Telling


class Journal:
    """One conversation's way out: its counters, and who listens."""

    __slots__ = (
        "_append",
        "_conversation_id",
        "_everything",
        "_now",
        "_telling",
        "index",
        "seq",
        "stream",
    )

    def __init__(self, conversation_id: ConversationId, outbox: "Outbox") -> None:
        self._conversation_id = conversation_id
        self._append = outbox.append
        self._now = outbox.now
        self._everything = outbox.everything
        self._telling = outbox.telling
        self.seq = 0
        self.index = 0
        self.stream: Stream | None = None

    def listen(self) -> Stream:
        """The conversation's own stream, made when first asked for."""
        if self.stream is None:
            self.stream = Stream()
        return self.stream

    def fact(self, made: type[Event], fields: Mapping[str, object]) -> None:
        """Make, store and publish a fact of class `made`."""
        seq = self.seq + 1
        event = made(seq=seq, at=self._now(), conversation_id=self._conversation_id, **fields)  # pyright: ignore[reportArgumentType] - the fields of `made`
        self._append(event)
        self.seq = seq
        stream, everything, telling = self.stream, self._everything, self._telling
        if telling is not None:
            self._publish_when_safe(event, telling)
            return
        if stream is not None:
            stream.publish(event)
        if everything.heard:
            everything.publish(event)

    def live(
        self, made: type[LiveEvent] | type[TaskProgressed], fields: Mapping[str, object]
    ) -> None:
        """Publish a live event of class `made`, if anybody listens."""
        stream, everything = self.stream, self._everything
        if (stream is None or not stream.heard) and not everything.heard:
            return
        self.index += 1
        event = made(
            seq=self.seq,
            index=self.index,
            at=self._now(),
            conversation_id=self._conversation_id,
            **fields,  # pyright: ignore[reportArgumentType] - the fields of `made`
        )
        if self._telling is not None:
            self._publish_when_safe(event, self._telling)
            return
        if stream is not None:
            stream.publish(event)
        if everything.heard:
            everything.publish(event)

    def _publish_when_safe(self, event: Event, telling: Telling) -> None:
        for stream in (self.stream, self._everything):
            if stream is not None:
                stream.wire(event)
                telling.tell(stream, event)

    def tell(self, made: type[LiveEvent], fields: Mapping[str, object]) -> None:
        """Publish a live event of class `made` to readers alone."""
        self.index += 1
        event = made(
            seq=self.seq,
            index=self.index,
            at=self._now(),
            conversation_id=self._conversation_id,
            **fields,  # pyright: ignore[reportArgumentType] - the fields of `made`
        )
        for stream in (self.stream, self._everything):
            if stream is None:
                continue
            if self._telling is not None:
                self._telling.tell(stream, event)
            else:
                stream.tell(event)


class Outbox:
    """The journals of all conversations, and the stream of everything."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self.append: Callable[[Event], None] = store.append
        """Into the store. Kept, like `now`: a method is made anew whenever it is looked up."""
        self.now: Callable[[], float] = clock.now
        """Seconds since the epoch."""
        self._journals: dict[ConversationId, Journal] = {}
        self.everything = Stream()
        """The events of all conversations."""
        self.telling = Telling(store.stored) if store.durable else None
        """Holds back what is not on the disk yet; None: the store forgets at exit anyway."""

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
        return journal is not None and journal.stream is not None and journal.stream.heard

    def stored(self) -> Awaitable[None]:
        """Wait until every fact so far is safe."""
        return self._store.stored()

    def forget(self, conversation_id: ConversationId) -> None:
        """End a conversation's streams and drop its counters."""
        journal = self._journals.pop(conversation_id, None)
        if journal is not None and journal.stream is not None:
            self._end(journal.stream)

    def close(self) -> None:
        """End every stream."""
        self._end(self.everything)
        for conversation_id in tuple(self._journals):
            self.forget(conversation_id)

    def _end(self, stream: Stream) -> None:
        if self.telling is not None:
            self.telling.hurry(stream)
        stream.close()
