"""The results of runs by name."""

from typing import Any

import pytest

from sidetask.core.errors import InvalidInputError, StateValueError
from sidetask.core.lifecycle import TERMINAL, TaskStatus
from sidetask.state.provenance import Origin
from sidetask.state.results import (
    error_key,
    failed,
    resolved,
    result_key,
    settled,
    start_result,
    status_key,
    status_of,
)
from sidetask.state.state import State

ORIGIN = Origin(source="agent", resolver="n", run_id="r", task_id="t", attempt=1, input_digest="d")
SUCCEEDED, FAILED, CANCELLED = TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELLED


class LimitError(Exception):
    """An error of an agent."""


@pytest.fixture
def state() -> State:
    return State()


def test_the_three_keys_are_named_after_the_run() -> None:
    keys = (status_key("review:main.py"), result_key("a"), error_key("a"))
    assert keys == ("review:main.py:status", "a:result", "a:error")


@pytest.mark.parametrize(
    "name", ["", " ", "app", "user", "turn", "temp", "derived", "a:", "app:", "derived:a"]
)
def test_a_name_that_cannot_be_one_is_refused_and_nothing_is_written(
    state: State, name: str
) -> None:
    for use in (status_key, result_key, error_key):
        with pytest.raises(InvalidInputError, match="cannot be named"):
            use(name)
    with pytest.raises(InvalidInputError):
        start_result(state, name, origin=ORIGIN)
    assert state.snapshot() == {}


@pytest.mark.parametrize("name", ["n" * 994, "a\0b", "caf\udce9", None, 5])
def test_a_name_that_no_key_can_hold_is_refused(state: State, name: Any) -> None:
    with pytest.raises(InvalidInputError):
        start_result(state, name, origin=ORIGIN)
    assert state.snapshot() == {}


def test_a_run_that_succeeds_has_a_result_and_no_error(state: State) -> None:
    run = start_result(state, "n", origin=ORIGIN, status=TaskStatus.QUEUED)
    assert state.snapshot() == {"n:status": "queued"}
    assert run.mark(TaskStatus.RUNNING)
    assert (state["n:status"], settled(state, "n")) == ("running", False)
    assert run.settle(SUCCEEDED, value={"a": 1})
    assert state.snapshot() == {"n:status": "succeeded", "n:result": {"a": 1}}
    for key in ("n:status", "n:result"):
        told = state.provenance(key)
        assert told is not None
        assert (told.task_id, told.run_id, told.attempt, told.input_digest) == ("t", "r", 1, "d")


def test_a_run_that_fails_has_an_error_with_type_and_details_in_its_provenance(
    state: State,
) -> None:
    run = start_result(state, "n", origin=ORIGIN)
    run.settle(FAILED, error=LimitError("too much"), details={"limit": 5})
    assert state.snapshot() == {"n:status": "failed", "n:error": "too much"}
    told = state.provenance("n:error")
    assert told is not None
    assert (told.error_type, told.error_details, told.task_id) == ("LimitError", {"limit": 5}, "t")


@pytest.mark.parametrize("value", ["", 0, None, False, []])
def test_a_run_has_succeeded_whatever_its_value_is(state: State, value: object) -> None:
    start_result(state, "n", origin=ORIGIN).settle(SUCCEEDED, value=value)
    assert (resolved(state, "n"), failed(state, "n"), settled(state, "n")) == (True, False, True)
    assert (state["n:result"], "n:result" in state) == (value, True)


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_every_end_is_settled_and_those_with_an_error_have_failed(
    state: State, status: TaskStatus
) -> None:
    assert (resolved(state, "n"), failed(state, "n"), settled(state, "n")) == (False,) * 3
    start_result(state, "n", origin=ORIGIN).settle(status, value=1, error="why")
    assert settled(state, "n")
    assert resolved(state, "n") == (status is SUCCEEDED)
    assert failed(state, "n") == ("n:error" in state) == (status not in {SUCCEEDED, CANCELLED})
    assert ("n:result" in state) == (status is SUCCEEDED)


def test_no_end_leaves_anything_of_the_one_before(state: State) -> None:
    start_result(state, "n", origin=ORIGIN).settle(FAILED, error="no")
    start_result(state, "n", origin=ORIGIN, keep_stale=True).settle(SUCCEEDED, value=1)
    assert state.snapshot() == {"n:status": "succeeded", "n:result": 1}
    start_result(state, "n", origin=ORIGIN, keep_stale=True).settle(FAILED, error="no")
    assert state.snapshot() == {"n:status": "failed", "n:error": "no"}
    start_result(state, "n", origin=ORIGIN, keep_stale=True).settle(CANCELLED)
    assert state.snapshot() == {"n:status": "cancelled"}
    start_result(state, "n", origin=ORIGIN).settle(SUCCEEDED, value=1)
    start_result(state, "n", origin=ORIGIN, keep_stale=True).settle(CANCELLED)
    assert state.snapshot() == {"n:status": "cancelled"}


def test_a_start_makes_the_last_result_go_unless_it_is_to_stay(state: State) -> None:
    start_result(state, "n", origin=ORIGIN).settle(SUCCEEDED, value=1)
    start_result(state, "n", origin=ORIGIN, keep_stale=True)
    assert state.snapshot() == {"n:status": "running", "n:result": 1}
    assert (resolved(state, "n"), settled(state, "n")) == (False, False)
    start_result(state, "n", origin=ORIGIN)
    assert state.snapshot() == {"n:status": "running"}


def test_no_reader_sees_a_result_beside_a_stale_error(state: State) -> None:
    seen: list[tuple[object, ...]] = []
    start_result(state, "n", origin=ORIGIN).settle(FAILED, error="no")
    run = start_result(state, "n", origin=ORIGIN, keep_stale=True)
    state.when(
        lambda change: True,
        lambda change: seen.append(
            (state.get("n:result"), state.get("n:error"), state["n:status"])
        ),
    )
    run.settle(SUCCEEDED, value=1)
    assert set(seen) == {(1, None, "succeeded")}


def test_a_run_of_an_older_generation_writes_nothing(state: State) -> None:
    old = start_result(state, "n", origin=ORIGIN)
    new = start_result(state, "n", origin=ORIGIN)
    assert (old.is_current, new.is_current) == (False, True)
    assert not old.mark(TaskStatus.AWAITING_APPROVAL)
    assert not old.settle(SUCCEEDED, value="old")
    assert new.settle(SUCCEEDED, value="new")
    assert not old.settle(FAILED, error="late")
    assert state.snapshot() == {"n:status": "succeeded", "n:result": "new"}


def test_a_run_whose_status_somebody_dropped_writes_nothing(state: State) -> None:
    run = start_result(state, "n", origin=ORIGIN)
    state.delete("n:status")
    start_result(state, "n", origin=ORIGIN).settle(SUCCEEDED, value="new")
    assert not run.settle(SUCCEEDED, value="old")
    assert state["n:result"] == "new"


def test_a_result_that_is_not_json_writes_nothing_and_the_run_can_still_fail(
    state: State,
) -> None:
    run = start_result(state, "n", origin=ORIGIN)
    with pytest.raises(StateValueError) as caught:
        run.settle(SUCCEEDED, value=object())
    assert state.snapshot() == {"n:status": "running"}
    assert run.settle(FAILED, error=caught.value)
    assert failed(state, "n")


def test_a_run_does_not_end_with_a_status_that_is_no_end(state: State) -> None:
    run = start_result(state, "n", origin=ORIGIN)
    with pytest.raises(InvalidInputError, match="does not end as running"):
        run.settle(TaskStatus.RUNNING)


class MuteError(Exception):
    """One that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("I have no words")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ("x" * 200, "x" * 98),
        ("caf\udce9", "caf?"),
        ("ä" * 60, "ä" * 49),
        (MuteError(), "an error that has no text"),
    ],
    ids=["bigger than a value", "half a letter", "not in the middle of a letter", "no text"],
)
def test_no_end_fails_for_the_words_of_its_error(error: Exception | str, text: str) -> None:
    state = State(max_value=100)
    assert start_result(state, "n", origin=ORIGIN).settle(FAILED, error=error)
    assert state.snapshot() == {"n:status": "failed", "n:error": text}


def test_a_status_may_be_given_as_its_word(state: State) -> None:
    as_word: Any = str  # callers may not be typed
    run = start_result(state, "n", origin=ORIGIN, status=as_word("queued"))
    assert run.mark(as_word("running"))
    assert run.settle(as_word("succeeded"), value=1)
    assert state.snapshot() == {"n:status": "succeeded", "n:result": 1}
    with pytest.raises(InvalidInputError, match="no status 'done': awaiting_approval, "):
        run.settle(as_word("done"))
    with pytest.raises(InvalidInputError, match="no status 'begun'"):
        start_result(state, "n", origin=ORIGIN, status=as_word("begun"))
    assert resolved(state, "n")


def test_what_is_no_status_is_none(state: State) -> None:
    for word in ("done", 1, ["running"]):
        state.set("n:status", word)
        assert (status_of(state, "n"), settled(state, "n")) == (None, False)


def test_a_run_in_a_fork_is_seen_by_others_when_the_fork_is_committed(state: State) -> None:
    outer = start_result(state, "n", origin=ORIGIN)
    fork = state.fork()
    run = start_result(fork, "n", origin=ORIGIN)
    assert run.settle(SUCCEEDED, value=1)
    assert (resolved(fork, "n"), resolved(state, "n")) == (True, False)
    fork.commit()
    assert (resolved(state, "n"), outer.settle(FAILED, error="late")) == (True, False)
