"""The table of a task's life: closed, reachable, and with ends that accept nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidetask.core.errors import IllegalTransitionError
from sidetask.core.events import (
    ApprovalDecided,
    ApprovalRequested,
    TaskCancelled,
    TaskDenied,
    TaskDetached,
    TaskEnded,
    TaskEvent,
    TaskFailed,
    TaskProgressed,
    TaskQueued,
    TaskStarted,
    TaskSucceeded,
    TaskTimedOut,
)
from sidetask.core.lifecycle import BUSY, TERMINAL, TRANSITIONS, TaskStatus, accepts, apply

EVENTS: list[type[TaskEvent]] = [
    ApprovalDecided,
    ApprovalRequested,
    TaskCancelled,
    TaskDenied,
    TaskDetached,
    TaskFailed,
    TaskProgressed,
    TaskQueued,
    TaskStarted,
    TaskSucceeded,
    TaskTimedOut,
]
histories = st.lists(st.sampled_from(EVENTS), max_size=30)


def live(events: list[type[TaskEvent]]) -> list[tuple[TaskStatus, type[TaskEvent]]]:
    """The rows that a task walks through, leaving out what its status does not accept."""
    status, rows = TaskStatus.QUEUED, list[tuple[TaskStatus, type[TaskEvent]]]()
    for event in events:
        if accepts(status, event):
            rows.append((status, event))
            status = apply(status, event)
    return rows


@given(st.sampled_from(sorted(TERMINAL)), st.sampled_from(EVENTS))
def test_a_terminal_status_accepts_nothing(status: TaskStatus, event: type[TaskEvent]) -> None:
    assert not accepts(status, event)
    with pytest.raises(IllegalTransitionError, match=f"{event.__name__} in {status}"):
        apply(status, event)


@given(histories)
def test_a_life_has_at_most_one_end_and_it_comes_last(events: list[type[TaskEvent]]) -> None:
    walked = [event for _, event in live(events)]
    ends = [event for event in walked if issubclass(event, TaskEnded)]
    assert len(ends) <= 1
    assert not ends or walked[-1] is ends[0]


@given(histories)
def test_a_task_runs_only_after_it_was_queued_for_that_attempt(
    events: list[type[TaskEvent]],
) -> None:
    waiting = True
    for _, event in live(events):
        if event is TaskQueued:
            waiting = True
        elif event is TaskStarted:
            assert waiting
            waiting = False


def test_every_row_and_every_status_is_reached_from_queued() -> None:
    reached, rows = {TaskStatus.QUEUED}, set[tuple[TaskStatus, type[TaskEvent]]]()
    while new := {row for row in TRANSITIONS if row[0] in reached} - rows:
        rows |= new
        reached |= {TRANSITIONS[row] for row in new}
    assert rows == set(TRANSITIONS)
    assert reached == set(TaskStatus)


def test_detaching_changes_no_status() -> None:
    detached = {
        status: after for (status, event), after in TRANSITIONS.items() if event is TaskDetached
    }
    assert detached == {status: status for status in set(TaskStatus) - TERMINAL}


@pytest.mark.parametrize(
    ("status", "event", "after"),
    [
        ("queued", TaskStarted, "running"),
        ("queued", TaskCancelled, "cancelled"),
        ("running", TaskSucceeded, "succeeded"),
        ("running", TaskFailed, "failed"),
        ("running", TaskCancelled, "cancelled"),
        ("running", TaskTimedOut, "timed_out"),
        ("running", TaskDenied, "denied"),
        ("running", ApprovalRequested, "awaiting_approval"),
        ("awaiting_approval", TaskQueued, "queued"),
        ("awaiting_approval", TaskDenied, "denied"),
        ("awaiting_approval", TaskCancelled, "cancelled"),
    ],
)
def test_the_table_says_what_the_design_says(
    status: str, event: type[TaskEvent], after: str
) -> None:
    assert apply(TaskStatus(status), event) == after


def test_waiting_for_an_approval_is_not_busy_and_every_status_is_one_of_three() -> None:
    assert {str(status) for status in BUSY} == {"queued", "running"}
    assert set(TaskStatus) == BUSY | TERMINAL | {TaskStatus.AWAITING_APPROVAL}


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TRANSITIONS[TaskStatus.QUEUED, TaskFailed] = TaskStatus.FAILED  # pyright: ignore
