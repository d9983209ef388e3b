"""Keeping contents out of a store: what is written to it passes a function of the host's first.

A wrapper around any store. Ids, names, statuses, times, counts and usage are written as they are;
all that a person, a model or a tool has said passes `redact`: which fields those are is told by
`STRUCTURE`, and one that nobody knows is content. The process that runs keeps what it has: it
finds its cut outputs and finished steps here, in memory.

A task whose arguments were changed on their way cannot be run again by a later process: its row
says so (`NOT_STORED`).
"""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from functools import cache
from typing import Any, TypeAlias, TypeVar, cast

from sidetask.core.errors import ConfigurationError, InvalidInputError
from sidetask.core.events import Event
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.jsons import Json
from sidetask.core.messages import File, Image, Message, Text, Thinking
from sidetask.stores.base import (
    TEXTS,
    ConversationRecord,
    Kind,
    Record,
    StateEntry,
    Store,
)
from sidetask.stores.memory import MemoryStore
from sidetask.tasks.stored import NOT_STORED, STEPS, Order
from sidetask.tasks.values import TaskSnapshot

T = TypeVar("T")

Redact: TypeAlias = Callable[[Json, str], Json]
"""Given a text or another JSON value, and where it stands (`"Text.text"`, `"ToolCall.arguments"`,
`"state:budget"`): what is stored instead. The same value: it is stored as it is."""

REMOVED = "[removed]"
"""What stands where a content was."""

STRUCTURE = frozenset(
    [
        "id",
        "agent",
        "user",
        "status",
        "kind",
        "conversation_id",
        "parent_conversation_id",
        "turn_id",
        "run_id",
        "parent_id",
        "task_id",
        "task_ids",
        "call_id",
        "call_ids",
        "approval_id",
        "client_request_id",
        "name",
        "names",
        "executor",
        "model",
        "key",
        "listener",
        "trigger",
        "source",
        "cause",
        "decision",
        "decided_by",
        "by",
        "digest",
        "error_type",
        "finish_reason",
        "media_type",
        "policy",
        "on_complete",
        "usage",
        "last_usage",
        "origin",
        "signature",
    ]
)
"""Fields that tell of no content. All numbers, flags and words of a fixed set are so, too."""
_VALUES = {"value", "metadata"}  # fields that hold any JSON: numbers in them are content, too
_HERE = {TEXTS.name, STEPS.name}


def remove(value: Json, _: str) -> Json:
    """Leave it out: what `store_content=False` does."""
    return {"removed": True} if isinstance(value, Mapping) else REMOVED


class RedactedStore:
    """A store that is given no contents, or others."""

    def __init__(self, store: Store, redact: Redact) -> None:
        self._store = store
        self._cleaner = Cleaner(redact)
        self._stores_state = redact is not remove
        self._here = MemoryStore()
        self.durable = store.durable
        # Jobs for other processes would hold the arguments: there is nobody to share them with.
        self.queue = self._here.queue
        self.members = self._here.members
        self.start = store.start
        self.close = store.close
        self.stored = store.stored
        self.facts = store.facts
        self.last_seq = store.last_seq
        self.listen = store.listen
        self.conversation = store.conversation
        self.conversations = store.conversations
        self.history = store.history
        self.clear = store.clear
        self.find = store.find
        self.count = store.count
        self.load_state = store.load_state

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
    ) -> None:
        cleaned = [self._cleaner.clean(message) for message in messages]
        await self._store.commit_turn(conversation_id, cleaned, ack=ack)

    def put(self, record: Record[T]) -> None:
        if record.kind.name in _HERE:
            self._here.put(record)
        self._store.put(self._cleaned(record))

    async def get(
        self, kind: Kind[T], conversation_id: ConversationId, id: str
    ) -> Record[T] | None:
        if kind.name in _HERE:
            found = await self._here.get(kind, conversation_id, id)
            if found is not None:
                return found
        return await self._store.get(kind, conversation_id, id)

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
        if self._stores_state:  # a tool that expects a number can do nothing with a placeholder
            cleaned = [self._cleaner.entry(each) for each in entries]
            self._store.save_state(conversation_id, cleaned, user=user)

    async def delete(self, conversation_id: ConversationId) -> None:
        await self._store.delete(conversation_id)
        await self._here.delete(conversation_id)

    async def erase(self, user: str) -> Sequence[ConversationId]:
        return await self._forget(await self._store.erase(user))

    async def vacuum(
        self, older_than: float, *, conversations: bool = True, dry_run: bool = False
    ) -> Sequence[ConversationId]:
        gone = await self._store.vacuum(older_than, conversations=conversations, dry_run=dry_run)
        return gone if dry_run else await self._forget(gone)

    async def _forget(self, gone: Sequence[ConversationId]) -> Sequence[ConversationId]:
        for conversation_id in gone:
            await self._here.delete(conversation_id)
        return gone

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


class Cleaner:
    """Passes contents through `redact`."""

    def __init__(self, redact: Redact) -> None:
        self._redact = redact

    def clean(self, value: T) -> T:
        """The same value where nothing of it is changed."""
        changes: dict[str, Any] = {}
        for name, where in _contents(type(value)):
            before = getattr(value, name)
            after = self._field(before, name, where)
            if after is not before:
                changes[name] = after
        if not changes:
            return value
        if isinstance(value, Thinking):
            changes["signature"] = None  # it signs the text
        if isinstance(value, TaskSnapshot) and "arguments" in changes:
            changes["metadata"] = {**changes.get("metadata", value.metadata), NOT_STORED: True}
        return replace(cast("Any", value), **changes)

    def entry(self, entry: StateEntry) -> StateEntry:
        """A write to the state."""
        origin = entry.origin
        details = origin.get("error_details")
        if details is not None:
            told = self._redact(details, f"state:{entry.key}:error")
            origin = {**origin, "error_details": told}
        value = entry.value
        if not entry.deleted:
            value = self._redact(value, f"state:{entry.key}")
        return replace(entry, value=value, origin=origin)

    def _field(self, value: Any, name: str, where: str) -> Any:
        if name in _VALUES:
            return self._json(value, where)
        match value:
            case str() if name == "arguments" and not isinstance(value, Enum):
                return self._arguments(value, where)
            case str() if value and not isinstance(value, Enum):
                return self._text(value, where)
            case tuple():
                return self._each(cast("tuple[Any, ...]", value), name, where)
            case Mapping() | list():
                return self._json(cast("Json", value), where)
            case _ if is_dataclass(value):
                return self.clean(value)
            case _:
                return value

    def _text(self, text: str, where: str) -> str:
        told = self._redact(text, where)
        if isinstance(told, str):
            return text if told == text else told
        return json.dumps(told, ensure_ascii=False)

    def _json(self, value: Json, where: str) -> Json:
        if value in (None, {}, ""):
            return value
        told = self._redact(value, where)
        if told == value:
            return value
        if isinstance(value, Mapping) and not isinstance(told, Mapping):
            return {"removed": told}
        return told

    def _arguments(self, text: str, where: str) -> str:
        try:
            given = json.loads(text or "{}")
        except (ValueError, RecursionError):
            given = text
        told = self._json(given, where)
        if told is given:
            return text
        return json.dumps(told if isinstance(told, dict) else {"removed": True})

    def _each(self, values: tuple[Any, ...], name: str, where: str) -> tuple[Any, ...]:
        cleaned: list[Any] = []
        for value in values:
            if not isinstance(value, Image | File):
                cleaned.append(self._field(value, name, where))
            elif self._may_stay(value):
                cleaned.append(value)
            elif name == "parts":
                cleaned.append(Text(REMOVED))
        same = len(cleaned) == len(values) and all(map(_is, cleaned, values))
        return values if same else tuple(cleaned)

    def _may_stay(self, attached: Image | File) -> bool:
        """Whether a picture or a file is shown back as it was given; else it is left out."""
        given: dict[str, Json] = {"media_type": attached.media_type, "url": attached.url}
        if attached.data is not None:
            given["data"] = b64encode(attached.data).decode("ascii")
        if isinstance(attached, File):
            given["name"] = attached.name
        return self._redact(dict(given), type(attached).__name__) == given


def _is(one: object, other: object) -> bool:
    return one is other


@cache
def _contents(kind: type[Any]) -> tuple[tuple[str, str], ...]:
    """The fields of a dataclass that may hold contents, and what each is called."""
    return tuple(
        [
            (each.name, f"{kind.__name__}.{each.name}")
            for each in fields(kind)
            if each.name not in STRUCTURE
        ]
    )


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
