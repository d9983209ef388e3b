"""Passing contents through a function of the host's, wherever in a value they stand.

Ids, names, statuses, times, counts and usage stay; all that a person, a model or a tool has said
is content. Which fields are none is told by `STRUCTURE`: one that nobody knows is content.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from functools import cache
from typing import Any, TypeAlias, TypeVar, cast

from sidetask.core.jsons import Json
from sidetask.core.messages import File, Image, Text, Thinking
from sidetask.stores.base import StateEntry
from sidetask.tasks.stored import NOT_STORED
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


def remove(value: Json, _: str) -> Json:
    """Leave it out: what `store_content=False` does."""
    return {"removed": True} if isinstance(value, Mapping) else REMOVED


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
