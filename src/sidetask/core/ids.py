"""What everything is made of: typed identifiers, and the classes of small values.

An id is a plain string that the type checker keeps apart from others. A value is frozen for
type checkers and a plain slots record at run time: every step of a turn makes a dozen of them,
and one that is frozen at run time takes three to five times as long to make. What a user makes
(an agent, a policy, limits) is made seldom, and is frozen at run time too.

A value's class is a dataclass to everybody who asks: for its fields, or for a changed copy. It
is not made by `dataclass`, which takes ten times as long to define it: that compiles up to nine
methods for each class, and describes each field by an object. Here all classes share the methods
that one needs now and then, and the rest is made when it is first looked up: a program makes
values of a few dozen of the classes, and preparing all of them would be a third of its import.
"""

from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, field, fields, make_dataclass, replace
from typing import Any, ClassVar, NewType, TypeVar, dataclass_transform, overload

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
def value(
    *, kw_only: bool = False, frozen: bool = False, eq: bool = True
) -> Callable[[type[Made]], type[Made]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(
    made: type[Made] | None = None,
    /,
    *,
    kw_only: bool = False,
    frozen: bool = False,
    eq: bool = True,
) -> type[Made] | Callable[[type[Made]], type[Made]]:
    """Make the class of a value: compared, hashed and shown by its fields; nobody changes it.

    `frozen`: at run time, too, nobody can. `eq=False`: each is equal to itself only.
    """
    if made is None:
        return lambda made: _make(made, kw_only=kw_only, frozen=frozen, eq=eq)
    return _make(made, kw_only=kw_only, frozen=False, eq=True)


def _make(made: type[Made], *, kw_only: bool, frozen: bool, eq: bool) -> type[Made]:
    """The same class, with a slot for each field."""
    own = dict(vars(made))
    for name in ("__dict__", "__weakref__"):
        own.pop(name, None)
    types = {
        name: of
        for name, of in made.__annotations__.items()
        if getattr(of, "__origin__", None) is not ClassVar
    }
    given = {name: own.pop(name, MISSING) for name in types}
    return type(made)(
        made.__name__,
        made.__bases__,
        {
            **(_COMPARED if eq else {}),
            **(_FROZEN if frozen else {}),
            "__slots__": tuple(types),
            "__repr__": _repr,
            "__replace__": replace,
            **{name: _Later() for name in _LATER},
            **own,
            "_own_fields": (types, given, kw_only),
        },
    )


class _Later:
    """Stands for what a dataclass has, until somebody looks at it."""

    __slots__ = ("_made", "_name")

    def __set_name__(self, made: type[Any], name: str) -> None:
        self._made = made
        self._name = name

    def __get__(self, instance: object, owner: type[Any]) -> Any:
        made, shape = self._made, vars(_shape_of(self._made))
        for name in _LATER:
            if isinstance(vars(made)[name], _Later):
                setattr(made, name, shape[name])
        found = shape[self._name]
        return found.__get__(instance, owner) if callable(found) else found


_LATER = ("__init__", "__match_args__", "__dataclass_fields__", "__dataclass_params__")


def _shape_of(made: type[Any]) -> type[Any]:
    """A dataclass of the same fields; those of its bases come first."""
    every: dict[str, tuple[str, Any, Any]] = {}
    for each in reversed(made.__mro__):
        types, given, kw_only = vars(each).get("_own_fields", ({}, {}, False))
        for name, of in types.items():
            said = given[name]
            if not isinstance(said, Field):
                said = field(default=said)
            if said.kw_only is MISSING:
                said.kw_only = kw_only
            every[name] = name, of, said
    also = getattr(made, "__post_init__", None)
    namespace = {} if also is None else {"__post_init__": also}
    namespace["__doc__"] = made.__name__  # else its signature would be written there
    return make_dataclass(
        made.__qualname__,
        every.values(),
        namespace=namespace,
        repr=False,
        eq=False,
        frozen=made.__setattr__ is not object.__setattr__,
    )


# -- what all have in common ---------------------------------------------------------------------


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


def _set(self: Any, name: str, value: object) -> None:
    if name in self.__dataclass_fields__:  # a subclass may have more, which are its own business
        raise FrozenInstanceError(f"cannot assign to field {name!r}")
    object.__setattr__(self, name, value)


def _delete(self: Any, name: str) -> None:
    if name in self.__dataclass_fields__:
        raise FrozenInstanceError(f"cannot delete field {name!r}")
    object.__delattr__(self, name)


def _get_state(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for each, kept in zip(fields(self), state, strict=True):
        object.__setattr__(self, each.name, kept)


_COMPARED = {"__eq__": _eq, "__hash__": _hash}
_FROZEN = {
    "__setattr__": _set,
    "__delattr__": _delete,
    "__getstate__": _get_state,  # else a copy would be filled by setting what is frozen
    "__setstate__": _set_state,
}
