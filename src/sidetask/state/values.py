"""JSON values as they are kept: frozen, so that one value may be handed to any number of readers.

Scalars are kept as they are. Arrays become `FrozenList`, objects `FrozenDict`: a list and a dict
in all that reads them (`==`, `json.dumps`, patterns, pydantic), and a `TypeError` for what would
change them. Reading costs one look, however big the value is; a copy for each reader would cost
0.3 to 0.5 ms for 40 kB.

Not proof against C code that writes into a list without asking it, such as `heapq`: hand that a
copy, `list(value)`.
"""

import math
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, ClassVar, Final, Never, TypeAlias, TypeVar, cast

from sidetask.core.errors import StateValueError
from sidetask.core.jsons import Json

T = TypeVar("T")

MAX_VALUE = 1024 * 1024
"""The default limit of one value: bytes, as `sized` counts them."""
MAX_DEPTH = 100
"""How deep arrays and objects may be nested. Parsers elsewhere give up soon after."""
_INT64 = 2**63


class Absent(Enum):
    """Stands where there is no value; JSON's null is one."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT
Kept: TypeAlias = "Json | Absent"


def _refuse(*_: object, **__: object) -> Never:
    raise TypeError(
        "a value of the state cannot be changed in place: change a copy (list(value), "
        "dict(value), copy.deepcopy(value)) and set that, or use state.modify()"
    )


class FrozenList(list[Json]):
    """A JSON array of the state. Copies of it are plain lists."""

    __slots__ = ("size",)
    size: int

    append = clear = extend = insert = pop = remove = reverse = sort = _refuse
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse

    def __copy__(self) -> list[Json]:
        return list(self)

    def __deepcopy__(self, memo: object) -> list[Json]:
        return [_thawed(item) for item in self]

    def __reduce_ex__(self, protocol: object) -> tuple[type[list[Json]], tuple[list[Json]]]:
        return list, (_thawed(self),)


class FrozenDict(dict[str, Json]):
    """A JSON object of the state. Copies of it are plain dicts."""

    __slots__ = ("size",)
    size: int

    clear = pop = popitem = setdefault = update = _refuse
    __setitem__ = __delitem__ = __ior__ = _refuse

    def __copy__(self) -> dict[str, Json]:
        return dict(self)

    def __deepcopy__(self, memo: object) -> dict[str, Json]:
        return {key: _thawed(item) for key, item in self.items()}

    def __reduce_ex__(self, protocol: object) -> tuple[type[dict[str, Json]], tuple[Any]]:
        return dict, (_thawed(self),)


def _thawed(value: Json) -> Any:
    return value.__deepcopy__(None) if isinstance(value, FrozenList | FrozenDict) else value


def freeze(key: str, value: object, limit: int = MAX_VALUE) -> Json:
    """The value as the state keeps it.

    A pydantic model is dumped, a tuple becomes an array, any mapping an object.

    Raises:
        StateValueError: The value is not JSON (NaN and the infinities are not), is nested deeper
            than `MAX_DEPTH`, or is bigger than `limit` bytes.
    """
    if type(value) is str and value.isascii() and len(value) + 2 <= limit:
        return value
    if type(value) is int and -_INT64 <= value < _INT64:
        return value
    if type(value) is bool or value is None:
        return value
    freezer = _Freezer(limit)
    try:
        frozen = freezer.walk(value, MAX_DEPTH)
    except _RefusedError as error:
        raise StateValueError(key, type(value).__name__, str(error)) from None
    if freezer.size > limit:
        raise StateValueError(key, type(value).__name__, _too_big(limit))
    return frozen


def sized(value: Json) -> int:
    """The bytes of a kept value, about those of its JSON text: texts by their UTF-8 bytes and 2,
    numbers as 8, `null`, `true` and `false` as 4, and 1 more for each item."""
    freezer = _Freezer(0)
    freezer.walk(value, MAX_DEPTH)
    return freezer.size


def _too_big(limit: int) -> str:
    return f"it is bigger than {limit:,} bytes: keep it elsewhere, and its name here"


class _RefusedError(Exception):
    """Says why a value is refused."""


class _Freezer:
    """One walk over one value, which checks, copies and counts."""

    __slots__ = ("_limit", "size")
    _scalars: ClassVar[dict[type[object], int]] = {bool: 4, type(None): 4}

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.size = 0

    def walk(self, value: object, depth: int) -> Json:
        kind = type(value)
        if kind is str:
            return self._text(cast(str, value))
        if kind is int:
            return self._whole(cast(int, value))
        if kind is float:
            return self._real(cast(float, value))
        if kind is dict:
            return self._object(cast("dict[object, object]", value), depth)
        if kind is list or kind is tuple:
            return self._array(cast("list[object]", value), depth)
        if kind is FrozenDict or kind is FrozenList:
            frozen = cast("FrozenDict | FrozenList", value)
            self.size += frozen.size
            return frozen
        if kind in self._scalars:
            self.size += 4
            return cast("bool | None", value)
        return self._other(value, depth)

    def _text(self, value: str) -> str:
        try:
            self.size += 2 + (len(value) if value.isascii() else len(value.encode()))
        except UnicodeEncodeError:
            raise _RefusedError("it holds a lone surrogate, which no UTF-8 can write") from None
        return value

    def _whole(self, value: int) -> int:
        self.size += 8
        if not -_INT64 <= value < _INT64:
            try:
                self.size += len(str(value)) - 8
            except ValueError:  # past sys.get_int_max_str_digits()
                raise _RefusedError("it holds a number with too many digits") from None
        return value

    def _real(self, value: float) -> float:
        if not math.isfinite(value):
            raise _RefusedError(f"{value!r} is not JSON")
        self.size += 8
        return value

    def _array(self, value: "list[object] | tuple[object, ...]", depth: int) -> FrozenList:
        before, walk, below = self._enter(len(value), depth), self.walk, depth - 1
        frozen = FrozenList([walk(item, below) for item in value])
        frozen.size = self.size - before
        return frozen

    def _object(self, value: Mapping[Any, object], depth: int) -> FrozenDict:
        before, walk, below = self._enter(len(value), depth), self.walk, depth - 1
        items: dict[str, Json] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise _RefusedError(f"an object's keys are texts, not {type(key).__name__}")
            items[self._text(str.__str__(key))] = walk(item, below)
        frozen = FrozenDict(items)
        frozen.size = self.size - before
        return frozen

    def _enter(self, items: int, depth: int) -> int:
        if depth <= 0:
            raise _RefusedError(f"it is nested deeper than {MAX_DEPTH}, or holds itself")
        before = self.size
        self.size += items + 2
        if before > self._limit > 0:
            raise _RefusedError(_too_big(self._limit))
        return before

    def _other(self, value: object, depth: int) -> Json:
        """What is JSON in another dress."""
        match value:
            case str():
                return self._text(str.__str__(value))
            case int():
                return self._whole(int(value))
            case float():
                return self._real(float(value))
            case Mapping():
                return self._object(cast("Mapping[object, object]", value), depth)
            case list() | tuple():
                return self._array(cast("list[object]", value), depth)
            case _:
                return self.walk(_dumped(value), depth)


def _dumped(value: object) -> object:
    """A pydantic model as JSON."""
    from pydantic import BaseModel  # noqa: PLC0415 - only a value that is no JSON comes here

    if not isinstance(value, BaseModel):
        raise _RefusedError(f"{type(value).__name__} is not JSON")
    try:
        return value.model_dump(mode="json")
    except ValueError as error:  # pydantic's errors of serialization are
        raise _RefusedError(str(error)) from None


def validated(key: str, value: Json, as_type: type[T]) -> T:
    """The value as pydantic understands the type.

    Raises:
        StateValueError: It does not fit.
    """
    from pydantic import ValidationError  # noqa: PLC0415 - for whoever asks for it

    try:
        return cast(T, _adapter(as_type).validate_python(value))
    except ValidationError as error:
        name = getattr(as_type, "__name__", None) or str(as_type)
        raise StateValueError(key, kind_of(value), f"it is no {name}: {error}") from None


def kind_of(value: object) -> str:
    """The type of a kept value, as who wrote it knows it."""
    match value:
        case FrozenDict():
            return "dict"
        case FrozenList():
            return "list"
        case _:
            return type(value).__name__


@lru_cache(maxsize=256)
def _adapter(as_type: Any) -> Any:
    """Building one takes longer than validating with it."""
    from pydantic import TypeAdapter  # noqa: PLC0415 - for whoever asks for it

    return TypeAdapter(as_type)
