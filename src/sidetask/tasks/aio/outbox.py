"""The one way out for events: stamped, stored, then published.

A change is made first, then its event goes through here. What the store refuses is not
published. Facts get the next `seq` of their conversation; live events get none, and are not
even made when nobody listens.
"""

from sidetask.core.events import Event, LiveEvent, TaskProgressed
from sidetask.core.ids import ConversationId
from sidetask.stores.base import Store
from sidetask.tasks.aio.clock import Clock
from sidetask.tasks.aio.streams import Stream


class Journal:
    """The counters and the listeners of one conversation."""

    __slots__ = ("index", "seq", "stream")

    def __init__(self) -> None:
        self.seq = 0
        self.index = 0
        self.stream: Stream | None = None

    def listen(self) -> Stream:
        if self.stream is None:
            self.stream = Stream()
        return self.stream


class Outbox:
    """Stamps, stores and publishes the events of all conversations."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._now = clock.now
        self._journals: dict[ConversationId, Journal] = {}
        self.everything = Stream()
        """The events of all conversations."""

    def now(self) -> float:
        return self._now()

    def journal(self, conversation_id: ConversationId) -> Journal:
        journal = self._journals.get(conversation_id)
        if journal is None:
            journal = self._journals[conversation_id] = Journal()
        return journal

    def fact(self, made: type[Event], conversation_id: ConversationId, **fields: object) -> None:
        """Make, store and publish a fact of class `made`."""
        journal = self._journals.get(conversation_id) or self.journal(conversation_id)
        seq = journal.seq + 1
        event = made(seq=seq, at=self._now(), conversation_id=conversation_id, **fields)  # pyright: ignore[reportArgumentType] - the fields of `made`
        self._store.append(event)
        journal.seq = seq
        self._publish(journal, event)

    def live(
        self,
        made: type[LiveEvent] | type[TaskProgressed],
        conversation_id: ConversationId,
        **fields: object,
    ) -> None:
        """Publish a live event of class `made`, if anybody listens."""
        journal = self._journals.get(conversation_id) or self.journal(conversation_id)
        if (journal.stream is None or not journal.stream.heard) and not self.everything.heard:
            return
        journal.index += 1
        event = made(
            seq=journal.seq,
            index=journal.index,
            at=self._now(),
            conversation_id=conversation_id,
            **fields,  # pyright: ignore[reportArgumentType] - the fields of `made`
        )
        self._publish(journal, event)

    def _publish(self, journal: Journal, event: Event) -> None:
        if journal.stream is not None:
            journal.stream.publish(event)
        if self.everything.heard:
            self.everything.publish(event)

    async def stored(self) -> None:
        """Return when every fact so far is safe."""
        await self._store.stored()

    def forget(self, conversation_id: ConversationId) -> None:
        """End a conversation's streams and drop its counters."""
        journal = self._journals.pop(conversation_id, None)
        if journal is not None and journal.stream is not None:
            journal.stream.close()

    def close(self) -> None:
        """End every stream."""
        self.everything.close()
        for conversation_id in tuple(self._journals):
            self.forget(conversation_id)
