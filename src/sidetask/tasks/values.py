"""What goes in and out of the task manager, as frozen values.

In: `TaskLaunch`. Out: `TaskSnapshot`, `Approval`, and how calls ended. An executor, found by
its registered name, turns a call into a `ToolOutcome`; nothing here is a closure.
"""

from collections.abc import Mapping
from dataclasses import field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol, TypeAlias

from sidetask.core.ids import ApprovalId, CallId, ConversationId, RunId, TaskId, TurnId, value
from sidetask.core.jsons import Json
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.messages import Attachment, ToolCall
from sidetask.core.routing import (
    DEFAULT_POLICY,
    OnComplete,
    Route,
    TaskKind,
    TaskPolicy,
    foreground,
)

NOTHING: Mapping[str, Json] = MappingProxyType({})


def _nothing() -> Mapping[str, Json]:
    return NOTHING


@value
class TaskLaunch:
    """What is started: a registered name with JSON arguments, never a closure."""

    call: ToolCall
    conversation_id: ConversationId
    turn_id: TurnId | None = None
    """The turn that waits. Without one, a foreground result is had from the handle only."""
    run_id: RunId | None = None
    route: Route = foreground()
    policy: TaskPolicy = DEFAULT_POLICY
    parent_id: TaskId | None = None
    """The task that awaits this one. It runs on that task's permits, and ends with it."""
    task_id: TaskId | None = None
    """None: the manager makes one."""
    executor: str | None = None
    """The registered name of what carries it out; None: the call's. Where there is one, the call
    is the host's own: no routing policy is asked, and the policy's cap is that executor's."""
    metadata: Mapping[str, Json] = field(default_factory=_nothing)


@value
class Progress:
    """How far a task is."""

    fraction: float | None
    """Between 0 and 1; None: unknown."""
    note: str


@value(kw_only=True)
class TaskSnapshot:
    """A task as it was when the snapshot was asked for. Times are seconds since the epoch."""

    id: TaskId
    conversation_id: ConversationId
    turn_id: TurnId | None
    call_ids: tuple[CallId, ...]
    parent_id: TaskId | None
    name: str
    arguments: str
    """The call's arguments as JSON text."""
    kind: TaskKind
    detached: bool
    status: TaskStatus
    attempt: int
    policy: TaskPolicy
    created_at: float
    started_at: float | None
    finished_at: float | None
    progress: Progress | None
    error: str | None
    metadata: Mapping[str, Json]
    executor: str | None = None
    """What carries it out, where that is not the tool of its name."""
    job: str | None = None
    """Its job in the store's queue, where another process carries it out."""


class Decision(StrEnum):
    OPEN = "open"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    """No longer needed: the task ended, or its arguments were changed."""


@value(kw_only=True)
class Approval:
    """A question to a person, bound to one tool name with one set of arguments."""

    id: ApprovalId
    task_id: TaskId
    conversation_id: ConversationId
    call: ToolCall
    kind: str
    reason: str
    summary: str
    metadata: Mapping[str, Json]
    digest: str
    """SHA-256 of the tool's name and canonical arguments: approving this approves no other."""
    created_at: float
    expires_at: float | None = None
    decision: Decision = Decision.OPEN
    decided_by: str | None = None
    decided_at: float | None = None
    note: str | None = None

    def withdrawn(self, at: float, note: str | None = None) -> "Approval":
        """The same, closed: nobody waits for an answer."""
        decision, by = Decision.WITHDRAWN, "sidetask"
        return replace(self, decision=decision, decided_by=by, decided_at=at, note=note)


@value
class Completed:
    """The call ended well."""

    value: Json
    """The result as a JSON value."""
    content: str
    """The result as the text that the model reads."""
    attachments: tuple[Attachment, ...] = ()
    duration: float | None = None
    """Seconds; None: the manager measures it."""
    metadata: Mapping[str, Json] = field(default_factory=_nothing)


@value
class Errored:
    """The call ended with an error that the model is told of."""

    error: str
    error_type: str = "ToolError"
    duration: float | None = None
    metadata: Mapping[str, Json] = field(default_factory=_nothing)


@value(kw_only=True)
class ApprovalRequest:
    """What a person is asked before a call may run, or go on."""

    kind: str = "tool"
    """Who asks: two kinds on one call are two approvals, and both are needed."""
    reason: str = ""
    summary: str = ""
    metadata: Mapping[str, Json] = field(default_factory=_nothing)


@value
class ApprovalNeeded:
    """Nothing has been done; these approvals are missing."""

    requests: tuple[ApprovalRequest, ...]
    call: ToolCall | None = None
    """What is asked about and will run, if it is not the call as the model wrote it."""


@value
class Refused:
    """A policy denied the call; nothing has been done."""

    reason: str


ToolOutcome: TypeAlias = Completed | Errored | ApprovalNeeded | Refused


@value
class Resolution:
    """How a call ended, as the loop and the host get it. It answers each of `call_ids`."""

    task_id: TaskId
    conversation_id: ConversationId
    turn_id: TurnId | None
    call_ids: tuple[CallId, ...]
    name: str
    status: TaskStatus
    """A terminal status, or `awaiting_approval` from a manager that cannot wait for one."""
    content: str
    """The text for the model: the result, or what went wrong."""
    value: Json = None
    attachments: tuple[Attachment, ...] = ()
    error_type: str | None = None
    on_complete: OnComplete = OnComplete.CONTINUE
    duration: float = 0.0
    metadata: Mapping[str, Json] = field(default_factory=_nothing)

    @property
    def is_error(self) -> bool:
        return self.status is not TaskStatus.SUCCEEDED


# -- what `wait_for_turn` tells, oldest first ---------------------------------------------


@value
class Resolved:
    """A call that the turn waited for has ended."""

    resolution: Resolution


@value
class Detached:
    """The turn no longer waits for this task; its calls are answered by a receipt."""

    task_id: TaskId
    call_ids: tuple[CallId, ...]
    name: str


@value
class TurnSettled:
    """No foreground task of the turn is alive, and nothing is left to tell."""


@value
class TurnCancelled:
    """The turn's token was cancelled while it waited."""

    reason: str


TurnUpdate: TypeAlias = Resolved | Detached
TurnNews: TypeAlias = Resolved | Detached | TurnSettled | TurnCancelled


@value
class LoopUpdates:
    """Background results for the next model call, in the order in which they ended.

    They are given again until `ack` names them: acknowledge with the history write.
    """

    items: tuple[Resolution, ...]

    @property
    def ids(self) -> tuple[TaskId, ...]:
        return tuple([item.task_id for item in self.items])


class TaskObserver(Protocol):
    """Whoever started a task and wants to know at once. It does not await, and raises nothing."""

    def entered(self, task_id: TaskId) -> None:
        """The task is there, queued, and nothing of it has run. Raising here ends it."""
        ...

    def ended(self, resolution: Resolution) -> None:
        """The task has ended, and nobody else was told yet."""
        ...


@value
class Ready:
    """The call was carried out inline."""

    resolution: Resolution


@value
class Pending:
    """The call became a task."""

    task_id: TaskId
    kind: TaskKind


StartResult: TypeAlias = Ready | Pending


@value
class Idle:
    """No task is queued or running. What nobody has taken or decided yet:"""

    undelivered: int
    approvals: int
