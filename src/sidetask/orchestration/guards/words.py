"""The vocabulary of guards.

is_set("date") & (resolved("quote") | called("offer")) & ~is_true("cancelled")
"""

from typing import Final

from sidetask.core.errors import ConfigurationError, InvalidInputError
from sidetask.core.jsons import canonical
from sidetask.core.lifecycle import TERMINAL, TaskStatus
from sidetask.orchestration.guards.base import Guard
from sidetask.orchestration.guards.facts import (
    SOME,
    Always,
    CalledFact,
    CustomFact,
    KeyFact,
    Look,
    StepFact,
)
from sidetask.state.board import is_prefix
from sidetask.state.results import status_key
from sidetask.state.values import ABSENT, freeze
from sidetask.state.watch import check_ordinary, same

_STATUSES = tuple([status.value for status in TaskStatus])
_UNWELL = TERMINAL - {TaskStatus.SUCCEEDED, TaskStatus.CANCELLED}

always: Final[Guard] = Always("always")
"""Holds."""


def is_set(key: str) -> Guard:
    """The key has a value, which may be null, empty or 0.

    Raises (as `is_true` and `eq` do):
        InvalidInputError: This is no key.
    """
    return KeyFact(f"`{key}` is set", _key(key), lambda value: value is not ABSENT, (ABSENT, SOME))


def is_true(key: str) -> Guard:
    """The key's value is true, or not empty and not 0."""
    return KeyFact(f"`{key}` is true", _key(key), _is_true, (ABSENT, SOME, None))


def eq(key: str, value: object) -> Guard:
    """The key has this value. Equal as JSON, where 1 is neither 1.0 nor true.

    Raises:
        StateValueError: The value is not JSON.
    """
    wanted = freeze(key, value)
    words = f"`{key}` is {canonical(wanted)}"
    return KeyFact(words, _key(key), lambda found: same(found, wanted), (ABSENT, wanted))


def resolved(name: str) -> Guard:
    """The run of this name succeeded, whatever its value is: `""`, 0 and null too.

    Raises (as `failed` and `settled` do):
        InvalidInputError: No run can have this name.
    """
    return _status(name, "has succeeded", frozenset({TaskStatus.SUCCEEDED}))


def failed(name: str) -> Guard:
    """The run of this name ended with an error: it failed, timed out or was denied."""
    return _status(name, "has failed", _UNWELL)


def settled(name: str) -> Guard:
    """The run of this name ended, in any way."""
    return _status(name, "has ended", TERMINAL)


def called(tool: str) -> Guard:
    """The model called the tool, and a call of it succeeded."""
    return CalledFact(f"`{tool}` was called and has succeeded", _name("tool", tool))


def step_done(step: str) -> Guard:
    """The step of the flow is done."""
    return StepFact(f"the step `{step}` is done", _name("step", step))


def custom(fn: Look, name: str, *, key: str = "") -> Guard:
    """`fn(state)` is true; `name` is what a model reads of it.

    It is looked at again when `key` changes (or a key under a prefix, as for `watch`); "": at any
    change of the state. In a flow, a function that raises counts as a condition that is not met.

    Raises:
        ConfigurationError: `fn` is no ordinary function, or has no name.
    """
    check_ordinary(f"what the guard {name!r:.80} asks", fn)
    if not isinstance(name, str) or not name.strip():  # pyright: ignore[reportUnnecessaryIsInstance] - callers may not be typed
        raise ConfigurationError("a guard of your own needs a name: a model reads it")
    return CustomFact(name, fn, key)


def _key(key: str) -> str:
    if is_prefix(key):
        raise InvalidInputError(f"{key!r} names no key of the state")
    return key


def _name(kind: str, name: str) -> str:
    if not name.strip() or ":" in name:
        raise InvalidInputError(f"{name!r} is no name of a {kind}")
    return name


def _is_true(value: object) -> bool:
    return value is not ABSENT and bool(value)


def _status(name: str, words: str, wanted: frozenset[TaskStatus]) -> Guard:
    key = status_key(name)

    def test(value: object) -> bool:
        return isinstance(value, str) and value in wanted

    return KeyFact(f"`{name}` {words}", key, test, (ABSENT, *_STATUSES))
