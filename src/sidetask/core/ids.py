"""What everything is made of: typed identifiers, and the classes of small values.

An id is a plain string that the type checker keeps apart from others. A value is frozen for
type checkers and a plain slots record at run time: every step of a turn makes a dozen of them,
and one that is frozen at run time takes three to five times as long to make. It also takes four
times as long to define, when the program starts: a dataclass compiles up to seven methods for
itself, of which these need `__init__` only. That one is compiled when it is first looked up: a
program makes values of a few dozen of the classes, and compiling all of them would be a third of
its import. What a user configures (an agent, a policy, limits) is an ordinary frozen dataclass.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, NewType, TypeVar, dataclass_transform, overload

ConversationId = NewType("ConversationId", str)
TurnId = NewType("TurnId", str)
RunId = NewType("RunId", str)
TaskId = NewType("TaskId", str)
CallId = NewType("CallId", str)
ApprovalId = NewType("ApprovalId", str)

Made = TypeVar("Made")


@overload
def value(made: type[Made], /) -> type[Made]: ...
@overload
def value(*, kw_only: bool) -> Callable[[type[Made]], type[Made]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(
    made: type[Made] | None = None, /, *, kw_only: bool = False
) -> type[Made] | Callable[[type[Made]], type[Made]]:
    """Make the class of a value: compared, hashed and shown by its fields; nobody changes it."""
    if made is None:
        return lambda made: _make(made, kw_only)
    return _make(made, kw_only)


def _make(made: type[Made], kw_only: bool) -> type[Made]:
    for name, method in _SHARED.items():
        if name not in made.__dict__:
            setattr(made, name, method)
    made = dataclass(slots=True, init=False, eq=False, repr=False, kw_only=kw_only)(made)
    setattr(made, "__init__", _Init(made))  # noqa: B010 - no method, for who checks types
    return made


class _Init:
    """Stands for the `__init__` of a class, and is replaced by it at the first look."""

    __slots__ = ("_made",)

    def __init__(self, made: type[Any]) -> None:
        self._made = made

    def __get__(self, instance: object, owner: type[Any]) -> Callable[..., None]:
        init = self._made.__init__ = _init_of(self._made)
        return init.__get__(instance, owner)


def _init_of(made: type[Any]) -> Any:
    """The `__init__` of a dataclass that has the same fields."""
    same = [
        (
            each.name,
            each.type,
            field(  # pyright: ignore[reportCallIssue] - one of them is missing, as in `each`
                default=each.default, default_factory=each.default_factory, kw_only=each.kw_only
            ),
        )
        for each in fields(made)
    ]
    also = getattr(made, "__post_init__", None)
    namespace = {} if also is None else {"__post_init__": also}
    shape: Any = make_dataclass(
        made.__qualname__, same, namespace=namespace, eq=False, repr=False, match_args=False
    )
    return shape.__init__


def _eq(self: Any, other: Any) -> bool:
    if self.__class__ is not other.__class__:
        return NotImplemented
    return _contents(self) == _contents(other)


def _hash(self: Any) -> int:
    return hash(_contents(self))


def _repr(self: Any) -> str:
    shown = [f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr]
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _contents(self: Any) -> tuple[Any, ...]:
    return tuple([getattr(self, each.name) for each in fields(self) if each.compare])


_SHARED = {"__eq__": _eq, "__hash__": _hash, "__repr__": _repr}
