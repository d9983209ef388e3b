"""Acting on changes, in the write itself."""

import asyncio
import logging
from threading import get_ident
from typing import Any, cast

import pytest

from sidetask.core.errors import ConfigurationError
from sidetask.core.jsons import Json
from sidetask.state.provenance import Change
from sidetask.state.state import State
from sidetask.state.watch import (
    MAX_DEPTH,
    Condition,
    became_true,
    changed,
    crossed_above,
    crossed_below,
)

QUIET = pytest.mark.usefixtures("quiet")


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "sidetask.state")


def firing(condition: Condition, values: list[Json]) -> list[Json]:
    """The values at which an action fires when they are written to `n` in turn."""
    state, fired = State(), list[Json]()
    state.when(condition, lambda change: fired.append(change.new))
    for value in values:
        state.set("n", value)
        state.set("other", value)
    return fired


@pytest.mark.parametrize(
    ("condition", "values", "fired"),
    [
        (changed("n"), [None, 1, 1, True, 2, [1], [1]], [None, 1, True, 2, [1]]),
        (became_true("n"), [0, 1, 2, "", "a", None, True, False], [1, "a", True]),
        (became_true("n"), ["yes"], ["yes"]),
        (crossed_above("n", 10), [11, 12, 10, 10.5, "x", 13, True], [11, 10.5, 13]),
        (crossed_above("n", 0), [True, 0.5], [0.5]),  # true is no number
        (crossed_below("n", 1), [False, 0.5], [0.5]),
        (crossed_below("n", 10), [10, 9, 8, 10, 9.5, None, 3, False], [9, 9.5, 3]),
    ],
)
def test_an_action_fires_when_its_condition_comes_true(
    condition: Condition, values: list[Json], fired: list[Json]
) -> None:
    assert firing(condition, values) == fired


def test_an_action_fires_before_the_write_returns() -> None:
    state, fired = State(), list[tuple[str, Json]]()
    state.when(changed("a"), lambda change: fired.append((change.key, state["a"])))
    state.set("a", 1)
    assert fired == [("a", 1)]
    state.modify("a", lambda _: 2)
    state.delete("a") if False else state.update({"a": 3})
    assert fired == [("a", 1), ("a", 2), ("a", 3)]


def test_a_deleted_key_has_changed() -> None:
    state, fired = State(), list[Change]()
    state.set("a", None)
    state.when(changed("a"), fired.append)
    state.delete("a")
    assert [change.deleted for change in fired] == [True]


def test_any_function_of_the_change_is_a_predicate() -> None:
    state, fired = State(), list[str]()
    when = state.when(
        lambda change: change.provenance.source == "tool", lambda change: fired.append(change.key)
    )
    state.set("a", 1)
    state.set("b", 1, source="tool")
    state.set("app:c", 1, source="tool")
    when.cancel()
    when.cancel()
    state.set("d", 1, source="tool")
    assert fired == ["b", "app:c"]


@QUIET
def test_an_action_that_raises_is_reported_and_the_others_run() -> None:
    told: list[tuple[str, str]] = []
    fired: list[Json] = []

    def fail(change: Change) -> None:
        raise ZeroDivisionError(change.new)

    state = State(on_error=lambda what, error: told.append((what, repr(error))))
    state.when(changed("a"), fail)
    state.when(fail, lambda change: fired.append("never"))
    state.when(changed("a"), lambda change: fired.append(change.new))
    assert state.set("a", 1) == 1
    assert fired == [1]
    assert told == [
        ("the predicate of an action, at 'a'", "ZeroDivisionError(1)"),
        ("an action on 'a'", "ZeroDivisionError(1)"),
    ]


def test_what_an_action_raises_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def hook(what: str, error: Exception) -> None:
        raise KeyError(what)

    state = State(on_error=hook)
    state.when(changed("a"), lambda change: 1 / 0)
    state.set("a", 1)
    assert [record.getMessage() for record in caplog.records] == [
        "an action on 'a' failed: ZeroDivisionError('division by zero')",
        "the on_error hook failed",
    ]


def test_an_action_may_write_and_what_it_writes_fires_in_turn() -> None:
    state = State()
    state.when(changed("a"), lambda change: state.set("b", change.new))
    state.when(changed("b"), lambda change: state.set("c", change.new))
    state.set("a", 1)
    assert state.snapshot() == {"a": 1, "b": 1, "c": 1}


@QUIET
def test_an_action_that_sets_itself_off_for_ever_is_stopped_and_reported() -> None:
    told: list[str] = []
    state = State(on_error=lambda what, error: told.append(f"{what}: {error}"))
    state.when(changed("n"), lambda change: state.set("n", [change.new == [], change.version]))
    state.set("n", 0)
    assert state.version("n") == MAX_DEPTH + 1
    assert told == [f"an action on 'n': it set itself off {MAX_DEPTH} times"]


@QUIET
def test_an_action_is_no_coroutine_function() -> None:
    async def act(change: Change) -> None:
        raise AssertionError

    told: list[Exception] = []
    state = State(on_error=lambda what, error: told.append(error))
    with pytest.raises(ConfigurationError, match=r"state\.watch"):
        state.when(changed("a"), act)
    state.when(changed("a"), lambda change: act(change))  # noqa: PLW0108 - hides what it is
    state.set("a", 1)
    assert [type(error) for error in told] == [ConfigurationError]


@QUIET
def test_a_predicate_is_an_ordinary_function() -> None:
    async def hold(change: Change) -> bool:
        raise AssertionError

    fired: list[Change] = []
    told: list[Exception] = []
    state = State(on_error=lambda what, error: told.append(error))
    for none in (hold, "a"):
        with pytest.raises(ConfigurationError, match="predicate of an action is an ordinary func"):
            state.when(cast(Any, none), fired.append)
    with pytest.raises(ConfigurationError, match="an action is a function, not 5"):
        state.when(changed("a"), cast(Any, 5))
    state.when(lambda change: hold(change), fired.append)  # noqa: PLW0108 - hides what it is
    state.set("a", 1)
    assert (fired, [type(error) for error in told]) == ([], [ConfigurationError])


async def test_an_action_runs_in_the_thread_where_it_was_declared() -> None:
    state, threads = State(), list[int]()
    fired = asyncio.Event()

    def act(change: Change) -> None:
        threads.append(get_ident())
        fired.set()

    state.when(changed("a"), act)
    await asyncio.to_thread(state.set, "a", 1)
    async with asyncio.timeout(5):
        await fired.wait()
    state.set("a", 2)
    assert threads == [get_ident()] * 2


async def test_an_action_declared_outside_of_a_loop_runs_where_the_write_is() -> None:
    state, threads = State(), list[int]()

    def declare() -> int:
        state.when(changed("a"), lambda change: threads.append(get_ident()))
        return get_ident()

    await asyncio.to_thread(declare)
    state.set("a", 1)
    assert threads == [get_ident()]


@QUIET
def test_an_action_whose_loop_is_closed_is_reported() -> None:
    told: list[str] = []
    state = State(on_error=lambda what, error: told.append(what))

    async def declare() -> None:
        state.when(changed("a"), lambda change: told.append("acted"))

    async def elsewhere() -> None:
        await asyncio.to_thread(state.set, "a", 1)

    asyncio.run(declare())
    asyncio.run(elsewhere())
    assert told == ["an action on 'a', whose loop is closed"]
