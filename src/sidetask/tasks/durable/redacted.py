"""Keeping contents out of a store: what is written to it passes a function of the host's first.

A wrapper around any store. The process that runs keeps what it has: its last cut outputs, finished
steps and writes to the state it finds here, in memory.

A task whose arguments were changed on their way cannot be run again by a later process: its row
says so (`NOT_STORED`).
"""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from sidetask.core.errors import ConfigurationError, InvalidInputError
from sidetask.core.events import Event
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.messages import Message
from sidetask.stores.base import (
    TEXTS,
    ConversationRecord,
    Kind,
    Record,
    Space,
    StateEntry,
    StateRead,
    Store,
    space_of,
)
from sidetask.stores.memory import MemoryStore
from sidetask.tasks.durable.cleaning import Cleaner, Redact, remove
from sidetask.tasks.stored import STEPS, Order

T = TypeVar("T")


class RedactedStore:
    """A store that is given no contents, or others."""

    def __init__(self, store: Store, redact: Redact) -> None:
        self._store = store
        self._cleaner = Cleaner(redact)
        self._stores_state = redact is not remove
        self._records = {TEXTS.name: _Last[Record[Any]](50), STEPS.name: _Last[Record[Any]](1_000)}
        self._state = _Last[StateEntry](10_000)
        self.durable = store.durable
        # Jobs for other processes would hold the arguments: there is nobody to share them with.
        nobody = MemoryStore()
        self.queue = nobody.queue
        self.members = nobody.members
        self.start = store.start
        self.close = store.close
        self.stored = store.stored
        self.facts = store.facts
        self.last_seq = store.last_seq
        self.listen = store.listen
        self.on_taken = store.on_taken
        self.conversation = store.conversation
        self.conversations = store.conversations
        self.history = store.history
        self.clear = store.clear
        self.find = store.find
        self.count = store.count
        self.delete = store.delete
        self.erase = store.erase
        self.vacuum = store.vacuum

    def append(self, fact: Event) -> None:
        self._store.append(self._cleaner.clean(fact))

    def save(self, conversation: ConversationRecord) -> None:
        self._store.save(self._cleaner.clean(conversation))

    async def commit_turn(
        self,
        conversation_id: ConversationId,
        messages: Sequence[Message],
        *,
        ack: Sequence[TaskId] = (),
        closing: Sequence[Record[Any]] = (),
        at: int | None = None,
    ) -> None:
        cleaned = [self._cleaner.clean(message) for message in messages]
        closed = [self._cleaned(record) for record in closing]
        await self._store.commit_turn(conversation_id, cleaned, ack=ack, closing=closed, at=at)

    def put(self, record: Record[T]) -> None:
        if record.kind.name in self._records:
            self._records[record.kind.name].put((record.conversation_id, record.id), record)
        self._store.put(self._cleaned(record))

    async def get(
        self, kind: Kind[T], conversation_id: ConversationId, id: str
    ) -> Record[T] | None:
        stored = await self._store.get(kind, conversation_id, id)
        if stored is None or kind.name not in self._records:
            return stored
        return self._records[kind.name].get((conversation_id, id)) or stored

    async def swap(self, record: Record[T], *, expect: str | None) -> Record[T] | None:
        cleaned = self._cleaned(record)
        stands = await self._store.swap(cleaned, expect=expect)
        return record if stands is cleaned else stands

    def save_state(
        self,
        conversation_id: ConversationId,
        entries: Sequence[StateEntry],
        *,
        user: str | None = None,
    ) -> None:
        if not self._stores_state:  # a tool that expects a number can do nothing with a placeholder
            return
        for entry in entries:
            space = space_of(entry.key, conversation_id, user)
            self._state.put((space, entry.key), entry)
        cleaned = [self._cleaner.entry(each) for each in entries]
        self._store.save_state(conversation_id, cleaned, user=user)

    async def load_state(
        self, conversation_id: ConversationId, *, user: str | None = None
    ) -> Sequence[StateEntry]:
        found = await self._store.load_state(conversation_id, user=user)
        return [self._own(space_of(each.key, conversation_id, user), each) for each in found]

    async def read_state(self, spaces: Collection[Space], *, after: int = 0) -> StateRead:
        found = await self._store.read_state(spaces, after=after)
        return replace(
            found, entries=[(space, self._own(space, each)) for space, each in found.entries]
        )

    def _own(self, space: Space, stored: StateEntry) -> StateEntry:
        """The write as this process made it, if it did."""
        own = self._state.get((space, stored.key))
        if own is None or (own.version, own.at) != (stored.version, stored.at):
            return stored
        return own

    def _cleaned(self, record: Record[T]) -> Record[T]:
        cleaned = self._cleaner.clean(record.value)
        if cleaned is record.value:
            return record
        if isinstance(record.value, Order) and record.open and record.value.kind == "send":
            raise InvalidInputError(
                "what is sent through this store is kept out of it, so nobody would get it: send "
                "it in the process that has the conversation open"
            )
        return replace(record, value=cleaned)


class _Last(Generic[T]):
    """The last values that were put, by key."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: dict[Hashable, T] = {}

    def put(self, key: Hashable, value: T) -> None:
        self._values.pop(key, None)
        self._values[key] = value
        if len(self._values) > self._limit:
            del self._values[next(iter(self._values))]

    def get(self, key: Hashable) -> T | None:
        return self._values.get(key)


def redacted(
    store: Store, store_content: bool, redact: Redact | None, engine: object = None
) -> Store:
    """The store, given as much of the contents as the host wants. One that forgets at exit is
    given all.

    Raises:
        ConfigurationError: Both were said; or the engine keeps what steps return by itself.
    """
    if store_content and redact is None:
        return store
    if not store_content and redact is not None:
        raise ConfigurationError("store_content=False leaves nothing to redact: say one of them")
    if engine is not None:
        raise ConfigurationError(
            "this engine keeps what steps return in tables of its own: leave engine= out, or keep "
            "contents out of the store otherwise"
        )
    return RedactedStore(store, redact or remove) if store.durable else store
