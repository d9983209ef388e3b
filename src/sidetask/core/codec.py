"""Messages, events and other values as JSON: what a store keeps and a server sends.

The written form follows from the dataclasses, field by field; only the words that stand for
a class (`kind` of an event, `type` of a message or part) are named here and never change.

Rules: both directions check, so nothing is written that cannot be read back. A field that
nobody knows is skipped and one that is missing takes its default, so a release may add a
field with a default, a type or a kind without a new version. Anything that an older reader
would misunderstand raises `VERSION`. An error names the place and the types, never the
content: histories are private.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import StrEnum
from functools import cache
from math import isfinite
from operator import attrgetter
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, NewType, TypeAlias, TypeVar, Union, cast, get_args, get_origin

from sidetask.core import events, messages
from sidetask.core.errors import CodecError
from sidetask.core.events import Event
from sidetask.core.jsons import Json, JsonObject
from sidetask.core.messages import Message

T = TypeVar("T")

VERSION = 1
_MAX_DEPTH = 100  # of free JSON; a value that contains itself ends here too
TYPES: Mapping[type, str] = MappingProxyType(
    {
        messages.UserMessage: "user",
        messages.AssistantMessage: "assistant",
        messages.ToolMessage: "tool",
        messages.NotificationMessage: "notifications",
        messages.Text: "text",
        messages.Thinking: "thinking",
        messages.Image: "image",
        messages.File: "file",
        messages.ToolCall: "tool_call",
    }
)
"""The word for each class that stands in a union."""

EVENTS: Mapping[str, type[Event]] = MappingProxyType(
    {
        found.kind.value: found
        for found in vars(events).values()
        if isinstance(found, type) and issubclass(found, Event) and "kind" in vars(found)
    }
)
"""Every event class that has a kind, by its kind."""


def message_to_json(message: Message) -> dict[str, Json]:
    """Return `message` as values that `json.dumps` takes.

    Raises:
        CodecError: It holds something that is not what its fields declare.
    """
    return _versioned(_MESSAGE.write(message))


def message_from_json(data: JsonObject) -> Message:
    """Return the message that `message_to_json` wrote.

    Raises:
        CodecError: The data is corrupt, of a newer version, or of an unknown type.
    """
    return _MESSAGE.read(_checked(data))


def event_to_json(event: Event) -> dict[str, Json]:
    """Return `event` as values that `json.dumps` takes, under its `kind`.

    Raises:
        CodecError: It holds something that is not what its fields declare.
    """
    return _versioned(_EVENT.write(event))


def event_from_json(data: JsonObject) -> Event:
    """Return the event that `event_to_json` wrote.

    Raises:
        CodecError: The data is corrupt, of a newer version, or of an unknown kind.
    """
    return _EVENT.read(_checked(data))


def value_to_json(kind: type[T], value: T) -> dict[str, Json]:
    """Return a dataclass of this very `kind` as values that `json.dumps` takes.

    Raises:
        CodecError: It holds something that is not what its fields declare.
    """
    return _versioned(_shape(kind).write(value))


def value_from_json(kind: type[T], data: JsonObject) -> T:
    """Return the value that `value_to_json` wrote.

    Raises:
        CodecError: The data is corrupt, of a newer version, or of another kind.
    """
    return _shape(kind).read(_checked(data))


def _versioned(written: dict[str, Any]) -> dict[str, Json]:
    written["v"] = VERSION
    return written


def _checked(data: Any) -> Any:
    version = _expect(data, Mapping).get("v")
    if type(version) is not int or version < 1:
        raise CodecError("no version: this was not written by sidetask, or it is corrupt")
    if version > VERSION:
        raise CodecError(f"version {version} is newer than {VERSION}: a newer sidetask reads it")
    return data


# -- shapes: how the values of one type are written and read ---------------------------------

_Step: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Shape:
    write: _Step
    read: _Step


def _both(step: _Step) -> _Shape:
    return _Shape(step, step)


@cache
def _shape(hint: Any) -> _Shape:
    if isinstance(hint, NewType):
        return _shape(hint.__supertype__)
    if hint in _SCALARS:
        return _SCALARS[hint]
    match get_origin(hint), get_args(hint):
        case (kind, (item, end)) if kind is tuple and end is Ellipsis:
            each = _shape(item)
            return _Shape(_each(each.write, tuple, list), _each(each.read, list, tuple))
        case (kind, arguments) if kind is Mapping and arguments == (str, Json):
            return _both(lambda value: _free(_expect(value, Mapping)))
        case (kind, (key, item)) if kind is Mapping and key is str:
            each = _shape(item)
            return _Shape(_under(each.write), _under(each.read))
        case (kind, members) if kind is Union or kind is UnionType:
            return _union(members)
        case _ if is_dataclass(hint) and isinstance(hint, type):
            return _record(hint)
        case _ if isinstance(hint, type) and issubclass(hint, StrEnum):
            return _Shape(lambda value: hint(value).value, hint)
        case _:
            raise CodecError(f"fields of type {hint!r} are not supported")


def _record(kind: type[Any]) -> _Shape:
    """All fields of a dataclass, by name."""
    table = fields(kind)
    parts = [(part.name, f"{kind.__name__}.{part.name}", _shape(part.type)) for part in table]
    required = [part.name for part in table if part.default is part.default_factory is MISSING]
    scalars = [part for part in parts if part[2] in _PLAIN]
    inner = [part for part in parts if part[2] not in _PLAIN]
    names = tuple([name for name, _, _ in scalars])
    padding = ("__class__",) * max(0, 2 - len(names))  # of two names or more it gives a tuple
    take = attrgetter(*names, *padding)
    # Checking scalars one by one would cost more than all else. Which types they may have at the
    # same time is learnt: the value is the places of its floats, which may not be finite.
    learnt: dict[tuple[type, ...], tuple[int, ...]] = {}

    def check(value: Any) -> None:
        for name, place, shape in scalars:
            _within(place, shape.write, getattr(value, name))

    def write(value: Any) -> dict[str, Any]:
        if type(value) is not kind:
            raise _unexpected(kind.__name__, value)
        found = take(value)
        types = tuple(map(type, found))
        floats = learnt.get(types)
        if floats is None:
            check(value)
            if _EXACT.issuperset(types[: len(names)]):
                learnt[types] = tuple([at for at, each in enumerate(types) if each is float])
        else:
            for at in floats:
                if not isfinite(found[at]):
                    check(value)
        written = dict(zip(names, found))  # noqa: B905 - the padding is cut off
        for name, place, shape in inner:
            written[name] = _within(place, shape.write, getattr(value, name))
        return written

    def read(data: Any) -> Any:
        missing = [name for name in required if name not in _expect(data, Mapping)]
        if missing:
            raise CodecError(f"{kind.__name__} lacks {', '.join(missing)}")
        known = {
            name: _within(place, shape.read, data[name])
            for name, place, shape in parts
            if name in data
        }
        return _within(kind.__name__, lambda values: kind(**values), known)

    return _Shape(write, read)


def _union(members: Sequence[Any]) -> _Shape:
    """One type or None, or one of several classes, told apart by `type`. The words that stand
    beside an enum are its members'."""
    kinds = [kind for kind in members if kind is not NoneType and get_origin(kind) is not Literal]
    inner = (
        _shape(kinds[0])
        if len(kinds) == 1
        else _tagged("type", {TYPES[kind]: kind for kind in kinds})
    )
    return _optional(inner) if NoneType in members else inner


def _tagged(name: str, kinds: Mapping[str, type[Any]]) -> _Shape:
    """One of several classes, told by a word under `name`."""
    words = {kind: word for word, kind in kinds.items()}
    steps: dict[type[Any], tuple[str, _Step]] = {}

    def write(value: object) -> dict[str, Any]:
        kind = type(value)
        found = steps.get(kind)
        if found is None:
            if kind not in words:
                raise _unexpected(" or ".join(words.values()), value)
            found = steps[kind] = words[kind], _shape(kind).write
        word, step = found
        written = step(value)
        written[name] = word
        return written

    def read(data: Any) -> Any:
        word = _expect(_expect(data, Mapping).get(name), str)
        if word not in kinds:
            raise CodecError(f"unknown {name} {word[:40]!r}")
        return _shape(kinds[word]).read(data)

    return _Shape(write, read)


def _each(step: _Step, found: type, made: type) -> _Step:
    return lambda values: made(
        [_within(f"[{at}]", step, item) for at, item in enumerate(_expect(values, found))]
    )


def _under(step: _Step) -> _Step:
    """Each value of an object, whose keys are words."""
    return lambda found: {
        _expect(key, str): _within(f"[{key!r}]", step, item)
        for key, item in _expect(found, Mapping).items()
    }


def _within(place: str, step: _Step, value: Any) -> Any:
    """Do one step; an error says where."""
    try:
        return step(value)
    except ValueError as error:  # ours, and that of a class that refuses its fields
        raise CodecError(f"{place}: {error}") from None


def _expect(value: Any, *kinds: type, what: str = "") -> Any:
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise _unexpected(what or kinds[0].__name__, value)
    if isinstance(value, float) and not isfinite(value):
        raise CodecError(f"{value} is not JSON")
    return value


def _unexpected(wanted: str, value: object) -> CodecError:
    return CodecError(f"expected {wanted}, found {type(value).__name__}")


def _free(value: Any, depth: int = 0) -> Any:
    """Copy a JSON value as lists and dicts."""
    if depth > _MAX_DEPTH:
        raise CodecError(f"nested in itself, or deeper than {_MAX_DEPTH} levels")
    match value:
        case Mapping():
            items = cast("Mapping[Any, Any]", value).items()
            return {_expect(key, str): _free(item, depth + 1) for key, item in items}
        case list() | tuple():
            return [_free(item, depth + 1) for item in cast("Sequence[Any]", value)]
        case _:
            return _expect(value, str, int, float, bool, NoneType, what="JSON")


_SCALARS: dict[Any, _Shape] = {
    str: _both(lambda value: _expect(value, str)),
    int: _both(lambda value: _expect(value, int)),
    float: _both(lambda value: _expect(value, float, int)),
    bool: _both(lambda value: _expect(value, bool)),
    bytes: _Shape(
        lambda value: b64encode(_expect(value, bytes)).decode("ascii"),
        lambda data: b64decode(_expect(data, str), validate=True),
    ),
}
_SCALARS[Json] = _both(_free)


def _same(shape: _Shape) -> _Shape:
    return shape


@cache
def _optional(inner: _Shape) -> _Shape:
    return _Shape(
        lambda value: None if value is None else inner.write(value),
        lambda data: None if data is None else inner.read(data),
    )


_EXACT = frozenset({str, int, float, bool, NoneType})
_PLAIN = frozenset(
    {made(_SCALARS[hint]) for hint in _EXACT - {NoneType} for made in (_same, _optional)}
)
"""The shapes that write what they are given."""
_MESSAGE = _shape(Message)
_EVENT = _tagged("kind", EVENTS)
