"""A store that forgets at exit.

Bounded: the last facts of each conversation are kept, and the last closed records of each kind;
messages, and what is open, as long as their conversation.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import count, islice
from typing import Any, TypeVar

from sidetask.core.errors import ConversationTakenError
from sidetask.core.events import Event
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.messages import Message
from sidetask.stores.base import (
    COMPACTIONS,
    DELIVERED,
    LASTING,
    PAGE,
    RESULT,
    STEP,
    TASK,
    ConversationRecord,
    Kind,
    Record,
    Space,
    StateEntry,
    StateRead,
    Store,
    kept_state,
    replaces,
    space_of,
    spaces_of,
)
from sidetask.stores.bounds import check_name
from sidetask.stores.members import HOME, NoMembers
from sidetask.stores.memory.queue import MemoryQueue
from sidetask.stores.queue import StoredJob

T = TypeVar("T")

FACTS = 1000
"""How many of the last facts of a conversation are kept."""


class _Records:
    """The records of all conversations, in the order in which they were first put."""

    def __init__(self) -> None:
        self._of: dict[ConversationId, dict[str, dict[str, tuple[int, Record[Any]]]]] = {}
        self._places = count()

    def home_of(self, conversation_id: ConversationId) -> str | None:
        """The status of the record that says who has it open."""
        found = self._of.get(conversation_id, {}).get(HOME, {}).get(HOME)
        return None if found is None else found[1].status

    def look(self, kind: Kind[T], conversation_id: ConversationId, id: str) -> Record[T] | None:
        found = self._of.get(conversation_id, {}).get(kind.name, {}).get(id)
        return None if found is None else found[1]

    def write(self, record: Record[Any]) -> None:
        """Put a record, whatever was there. A closed one too many makes the oldest go."""
        kinds = self._of.setdefault(record.conversation_id, {})
        records = kinds.setdefault(record.kind.name, {})
        before = records.get(record.id)
        place = next(self._places) if before is None else before[0]
        records[record.id] = place, record
        if len(records) > record.kind.kept:
            closed = (id for id, (_, each) in records.items() if not each.open)
            if (oldest := next(closed, None)) is not None:
                del records[oldest]

    def all(self, kind: str, conversation_id: ConversationId | None = None) -> list[Record[Any]]:
        """The records of a kind, of all conversations or one."""
        if conversation_id is not None:
            return [
                record for _, record in self._of.get(conversation_id, {}).get(kind, {}).values()
            ]
        found = [each for kinds in self._of.values() for each in kinds.get(kind, {}).values()]
        return [record for _, record in sorted(found, key=lambda each: each[0])]

    def deliver(self, conversation_id: ConversationId, task_ids: Sequence[TaskId]) -> None:
        """These results are part of the history."""
        results = self._of.get(conversation_id, {}).get(RESULT, {})
        for task_id in task_ids:
            if task_id in results:
                self.write(replace(results[task_id][1], status=DELIVERED))

    def has_open(self, conversation_id: ConversationId) -> bool:
        kinds = self._of.get(conversation_id, {}).values()
        return any(record.open for records in kinds for _, record in records.values())

    def is_open(self, conversation_id: ConversationId, id: str) -> bool:
        """Whether something of this id is open, of whatever kind."""
        kinds = self._of.get(conversation_id, {}).values()
        return any(id in records and records[id][1].open for records in kinds)

    def drop(self, conversation_id: ConversationId, kind: str | None = None) -> None:
        """Forget the records of a conversation, of one kind or all."""
        if kind is None:
            self._of.pop(conversation_id, None)
        else:
            self._of.get(conversation_id, {}).pop(kind, None)

    def drop_closed(self, older_than: float) -> None:
        for kinds in self._of.values():
            has_task = any(record.open for _, record in kinds.get(TASK, {}).values())
            lasting = (*LASTING, STEP) if has_task else LASTING
            for name, records in kinds.items():
                kinds[name] = {
                    id: each
                    for id, each in records.items()
                    if name in lasting or each[1].open or each[1].at >= older_than
                }


class _RecordStore:
    """What is neither a fact nor a message."""

    def __init__(self) -> None:
        self._records = _Records()
        self._counters: dict[ConversationId, dict[str, float]] = {}
        self._state: dict[tuple[str, str], dict[str, StateEntry]] = {}
        self._conversations: dict[ConversationId, ConversationRecord] = {}

    def put(self, record: Record[T]) -> None:
        check_name("the id of a record", record.id)
        check_name("the id of a conversation", record.conversation_id)
        before = self._records.look(record.kind, record.conversation_id, record.id)
        if before is None or before.open:
            self._records.write(record)

    async def get(
        self, kind: Kind[T], conversation_id: ConversationId, id: str
    ) -> Record[T] | None:
        return self._records.look(kind, conversation_id, id)

    async def find(  # noqa: PLR0913 - each narrows the question
        self,
        kind: Kind[T],
        *,
        conversation_id: ConversationId | None = None,
        user: str | None = None,
        id: str | None = None,
        open: bool | None = None,
        after: Record[T] | None = None,
        limit: int = PAGE,
    ) -> Sequence[Record[T]]:
        found = self._records.all(kind.name, conversation_id)
        if after is not None:
            keys = [(each.conversation_id, each.id) for each in found]
            here = (after.conversation_id, after.id)
            found = found[keys.index(here) + 1 :] if here in keys else []
        wanted = (
            record
            for record in found
            if (id is None or record.id == id)
            and (open is None or record.open is open)
            and (user is None or self._user_of(record.conversation_id) == user)
        )
        return list(islice(wanted, limit))

    async def swap(self, record: Record[T], *, expect: str | None) -> Record[T] | None:
        check_name("the id of a record", record.id)
        before = self._records.look(record.kind, record.conversation_id, record.id)
        if (None if before is None else before.status) != expect:
            return before
        self._records.write(record)
        return record

    async def count(self, conversation_id: ConversationId, name: str, amount: float = 0.0) -> float:
        check_name("the name of a counter", name)
        counters = self._counters.setdefault(conversation_id, {})
        counters[name] = total = counters.get(name, 0.0) + amount
        return total

    def save_state(
        self,
        conversation_id: ConversationId,
        entries: Sequence[StateEntry],
        *,
        user: str | None = None,
    ) -> None:
        for entry in kept_state(entries):
            space = self._state.setdefault(space_of(entry.key, conversation_id, user), {})
            if replaces(entry, space.get(entry.key)):
                space[entry.key] = entry

    async def load_state(
        self, conversation_id: ConversationId, *, user: str | None = None
    ) -> Sequence[StateEntry]:
        read = await self.read_state(spaces_of(conversation_id, user))
        return [entry for _, entry in read.entries]

    async def read_state(self, spaces: Collection[Space], *, after: int = 0) -> StateRead:
        found = [(each, entry) for each in spaces for entry in self._state.get(each, {}).values()]
        return StateRead(entries=sorted(found, key=lambda each: each[1].key), mark=0)

    def _user_of(self, conversation_id: ConversationId) -> str | None:
        found = self._conversations.get(conversation_id)
        return None if found is None else found.user

    def _forget(self, conversation_id: ConversationId) -> None:
        self._conversations.pop(conversation_id, None)
        self._records.drop(conversation_id)
        self._counters.pop(conversation_id, None)
        self._state.pop(("conversation", conversation_id), None)


class MemoryStore(_RecordStore, Store):
    """Keeps all messages, and the last facts, of each conversation in this process."""

    durable = False

    def __init__(self, *, facts: int = FACTS) -> None:
        super().__init__()
        self.queue = self._queue = MemoryQueue()
        self._queue.home_of = self._records.home_of
        self.members = NoMembers()
        self._limit = facts
        self._facts: defaultdict[ConversationId, list[Event]] = defaultdict(list)
        # Lists: an empty deque has 0.7 KiB, and dropping the first of 1,000 takes 0.1 us.
        self._messages: dict[ConversationId, list[Message]] = {}

    async def start(self) -> None:
        """There is nothing to open."""

    async def close(self) -> None:
        """There is nothing to close."""

    # -- facts -------------------------------------------------------------------------------

    def append(self, fact: Event) -> None:
        kept = self._facts[fact.conversation_id]
        kept.append(fact)
        if len(kept) > self._limit:
            del kept[0]

    async def stored(self) -> None:
        """Memory is as safe as it gets at once."""

    async def facts(
        self, conversation_id: ConversationId, *, after: int = 0, limit: int | None = None
    ) -> Sequence[Event]:
        found = [fact for fact in self._facts.get(conversation_id, ()) if fact.seq > after]
        return found[:limit]

    async def last_seq(self, conversation_id: ConversationId) -> int:
        facts = self._facts.get(conversation_id)
        return facts[-1].seq if facts else 0

    def listen(self, heard: Callable[[ConversationId | None], None]) -> Callable[[], None]:
        return lambda: None  # no other process writes here

    def on_taken(self, heard: Callable[[ConversationId], None]) -> Callable[[], None]:
        return lambda: None  # as above

    # -- conversations -------------------------------------------------------------------------

    def save(self, conversation: ConversationRecord) -> None:
        check_name("the id of a conversation", conversation.id)
        self._conversations[conversation.id] = conversation

    async def conversation(self, conversation_id: ConversationId) -> ConversationRecord | None:
        return self._conversations.get(conversation_id)

    async def conversations(
        self,
        *,
        user: str | None = None,
        after: ConversationRecord | None = None,
        limit: int = PAGE,
    ) -> Sequence[ConversationRecord]:
        found = [each for each in self._conversations.values() if user in (None, each.user)]
        found.sort(key=_recency, reverse=True)
        if after is not None:
            found = [each for each in found if _recency(each) < _recency(after)]
        return found[:limit]

    async def commit_turn(
        self,
        conversation_id: ConversationId,
        messages: Sequence[Message],
        *,
        ack: Sequence[TaskId] = (),
        closing: Sequence[Record[Any]] = (),
        at: int | None = None,
    ) -> None:
        for record in closing:
            before = self._records.look(record.kind, conversation_id, record.id)
            if before is not None and not before.open:
                return
        history = self._messages.setdefault(conversation_id, [])
        if at is not None and len(history) != at:
            if history[at:] == list(messages):
                return
            raise ConversationTakenError(conversation_id)
        for record in closing:
            self._records.write(record)
        history.extend(messages)
        if ack:
            self._records.deliver(conversation_id, ack)

    async def history(
        self, conversation_id: ConversationId, *, start: int = 0
    ) -> Sequence[Message]:
        return tuple(islice(self._messages.get(conversation_id, ()), start, None))

    async def clear(self, conversation_id: ConversationId) -> None:
        self._messages.pop(conversation_id, None)
        self._records.drop(conversation_id, COMPACTIONS.name)

    async def delete(self, conversation_id: ConversationId) -> None:
        self._facts.pop(conversation_id, None)
        self._messages.pop(conversation_id, None)
        self._queue.drop(conversation_id)
        self._forget(conversation_id)

    async def erase(self, user: str) -> Sequence[ConversationId]:
        theirs = [each.id for each in self._conversations.values() if each.user == user]
        for conversation_id in theirs:
            await self.delete(conversation_id)
        self._state.pop(("user", user), None)
        return theirs

    async def vacuum(
        self, older_than: float, *, conversations: bool = True, dry_run: bool = False
    ) -> Sequence[ConversationId]:
        old = [
            each.id
            for each in self._conversations.values()
            if each.updated_at < older_than
            and not self._records.has_open(each.id)
            and not self._queue.has_open(each.id)
        ]
        old = old if conversations else []
        if dry_run:
            return old
        for conversation_id in old:
            await self.delete(conversation_id)
        self._queue.drop_over(older_than, self._waits_for)
        self._records.drop_closed(older_than)
        for facts in self._facts.values():
            gone = sum(1 for fact in facts[:-1] if fact.at < older_than)  # the last tells the seq
            del facts[:gone]
        return old

    def _waits_for(self, job: StoredJob) -> bool:
        return self._records.is_open(job.conversation_id, job.task_id)


def _recency(conversation: ConversationRecord) -> tuple[float, str]:
    return conversation.updated_at, conversation.id
