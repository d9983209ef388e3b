"""The life of a task, as a table.

Rule: every change of a task's status is a row of `TRANSITIONS`, and `apply` is the only
door. No other module decides what may follow what.

Theory: detaching is not a status. It changes who waits, so `TaskDetached` leads from each
living status to itself. Waiting for an approval is a status, because it holds no permit and
does not count as running; the way back leads through `queued`, as a new attempt. An end that
was asked for (cancel, timeout, denial) and has not happened yet is no status either: the
task runs until its work has stopped, and the ledger remembers which end it will be.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from sidetask.core.errors import IllegalTransitionError
from sidetask.core.events import (
    ApprovalDecided,
    ApprovalRequested,
    TaskCancelled,
    TaskDenied,
    TaskDetached,
    TaskEvent,
    TaskFailed,
    TaskQueued,
    TaskStarted,
    TaskSucceeded,
    TaskTimedOut,
)


class TaskStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    AWAITING_APPROVAL = "awaiting_approval"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    DENIED = "denied"


_Q, _R, _A = TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.AWAITING_APPROVAL

TRANSITIONS: Mapping[tuple[TaskStatus, type[TaskEvent]], TaskStatus] = MappingProxyType(
    {
        (_Q, TaskStarted): _R,
        (_Q, TaskDetached): _Q,
        (_Q, TaskCancelled): TaskStatus.CANCELLED,
        (_R, TaskDetached): _R,
        (_R, ApprovalRequested): _A,
        (_R, TaskSucceeded): TaskStatus.SUCCEEDED,
        (_R, TaskFailed): TaskStatus.FAILED,
        (_R, TaskCancelled): TaskStatus.CANCELLED,
        (_R, TaskTimedOut): TaskStatus.TIMED_OUT,
        (_R, TaskDenied): TaskStatus.DENIED,
        (_A, TaskDetached): _A,
        (_A, ApprovalRequested): _A,
        (_A, ApprovalDecided): _A,
        (_A, TaskQueued): _Q,
        (_A, TaskDenied): TaskStatus.DENIED,
        (_A, TaskCancelled): TaskStatus.CANCELLED,
    }
)

TERMINAL = frozenset(TaskStatus) - {status for status, _ in TRANSITIONS}
"""The statuses that accept nothing."""

BUSY = frozenset({_Q, _R})
"""The statuses in which a conversation is not idle."""


def apply(status: TaskStatus, event: type[TaskEvent]) -> TaskStatus:
    """Return the status after an event of this type.

    Raises:
        IllegalTransitionError: The table has no row for it.
    """
    try:
        return TRANSITIONS[status, event]
    except KeyError:
        raise IllegalTransitionError(f"{event.__name__} in {status}") from None


def accepts(status: TaskStatus, event: type[TaskEvent]) -> bool:
    """Whether the table has a row for this event."""
    return (status, event) in TRANSITIONS
