"""What happens, as facts in the past tense: one vocabulary for log, bus, server and page.

Two classes of events. *Facts* own a `seq`, counted from 1 in each conversation, and are
stored. *Live* events (deltas, progress) carry the last fact's seq and an index of their own;
they are never stored, and what they add up to is part of a later fact.

Events hold values only: no task objects, no callables, no open files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, TypeVar, dataclass_transform

from sidetask.core.ids import ApprovalId, CallId, ConversationId, RunId, TaskId, TurnId
from sidetask.core.jsons import Json
from sidetask.core.messages import (
    AssistantMessage,
    NotificationMessage,
    ToolMessage,
    UserMessage,
)
from sidetask.core.usage import Usage

Made = TypeVar("Made")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def fact(made: type[Made]) -> type[Made]:
    """Make an event's class: frozen for type checkers, a plain slots record at run time.

    Every step makes several events, and a frozen one takes three times as long to make.
    """
    return dataclass(slots=True, kw_only=True)(made)


class EventKind(StrEnum):
    """The name of each event class; `ANY` stands for all of them in a filter."""

    ANY = "any"
    RUN_STARTED = "run_started"
    RUN_COMPLETED = "run_completed"
    RUN_FAILED = "run_failed"
    RUN_CANCELLED = "run_cancelled"
    CONTEXT_BUILT = "context_built"
    MODEL_STARTED = "model_started"
    TEXT_DELTA = "text_delta"
    THINKING_DELTA = "thinking_delta"
    USAGE_RECORDED = "usage_recorded"
    TOOL_CALL_STARTED = "tool_call_started"
    TOOL_CALL_DELTA = "tool_call_delta"
    TOOL_CALL_COMPLETED = "tool_call_completed"
    USER_MESSAGE_COMMITTED = "user_message_committed"
    ASSISTANT_MESSAGE_COMMITTED = "assistant_message_committed"
    TOOL_MESSAGE_COMMITTED = "tool_message_committed"
    NOTIFICATIONS_COMMITTED = "notifications_committed"
    TASK_QUEUED = "task_queued"
    TASK_STARTED = "task_started"
    TASK_PROGRESSED = "task_progressed"
    TASK_DETACHED = "task_detached"
    APPROVAL_REQUESTED = "approval_requested"
    APPROVAL_DECIDED = "approval_decided"
    TASK_SUCCEEDED = "task_succeeded"
    TASK_FAILED = "task_failed"
    TASK_CANCELLED = "task_cancelled"
    TASK_TIMED_OUT = "task_timed_out"
    TASK_DENIED = "task_denied"
    CONTINUE_REQUESTED = "continue_requested"


@fact
class Event:
    """A fact about a conversation, with its envelope. Subclasses are named in the past tense."""

    kind: ClassVar[EventKind]
    live: ClassVar[bool] = False
    terminal: ClassVar[bool] = False
    """The last event of a run or a task. A slow subscriber never loses it silently."""

    seq: int
    """From 1 in each conversation; a live event carries the last fact's."""
    at: float
    """Seconds since the epoch, as the runtime's clock told them."""
    conversation_id: ConversationId
    turn_id: TurnId | None = None
    run_id: RunId | None = None
    parent_id: TaskId | None = None
    """The task that this task or conversation works for."""

    @property
    def id(self) -> str:
        """Unique in the store: two listeners see the same."""
        return f"{self.conversation_id}:{self.seq}"


@fact
class LiveEvent(Event):
    """An event that is told and not stored."""

    live = True

    index: int
    """Counts the live events of a conversation."""

    @property
    def id(self) -> str:
        return f"{self.conversation_id}:{self.seq}.{self.index}"


# -- runs ---------------------------------------------------------------------------


@fact
class RunStarted(Event):
    """A turn began."""

    kind = EventKind.RUN_STARTED
    cause: str
    """`user`, `tasks` or `trigger`."""
    task_ids: tuple[TaskId, ...] = ()
    """The tasks whose ends started this turn, when nobody asked for it."""


@fact
class RunCompleted(Event):
    """The turn reached its end."""

    kind = EventKind.RUN_COMPLETED
    terminal = True
    text: str
    steps: int
    usage: Usage


@fact
class RunFailed(Event):
    """The turn ended with an error; the history is valid."""

    kind = EventKind.RUN_FAILED
    terminal = True
    error: str
    error_type: str


@fact
class RunCancelled(Event):
    """The turn was interrupted or cancelled; the history is valid."""

    kind = EventKind.RUN_CANCELLED
    terminal = True
    reason: str


# -- context and model ------------------------------------------------------------------


@fact
class ContextBuilt(Event):
    """The next model call's context is ready."""

    kind = EventKind.CONTEXT_BUILT
    step: int
    messages: int
    """How many messages the context holds."""


@fact
class ModelStarted(Event):
    """A model is being called."""

    kind = EventKind.MODEL_STARTED
    step: int
    model: str


@fact
class TextDelta(LiveEvent):
    """A piece of the reply's text."""

    kind = EventKind.TEXT_DELTA
    text: str


@fact
class ThinkingDelta(LiveEvent):
    """A piece of the model's thinking."""

    kind = EventKind.THINKING_DELTA
    text: str


@fact
class ToolCallStarted(LiveEvent):
    """The model began to write a tool call."""

    kind = EventKind.TOOL_CALL_STARTED
    call_id: CallId
    name: str


@fact
class ToolCallDelta(LiveEvent):
    """A piece of a tool call's arguments, as JSON text."""

    kind = EventKind.TOOL_CALL_DELTA
    call_id: CallId
    arguments: str


@fact
class ToolCallCompleted(LiveEvent):
    """The model has written a whole tool call."""

    kind = EventKind.TOOL_CALL_COMPLETED
    call_id: CallId
    name: str
    arguments: str


@fact
class UsageRecorded(Event):
    """What one model call consumed."""

    kind = EventKind.USAGE_RECORDED
    usage: Usage
    model: str


# -- messages -------------------------------------------------------------------------


@fact
class UserMessageCommitted(Event):
    """A user's message is part of the history."""

    kind = EventKind.USER_MESSAGE_COMMITTED
    message: UserMessage


@fact
class AssistantMessageCommitted(Event):
    """A model's reply is part of the history."""

    kind = EventKind.ASSISTANT_MESSAGE_COMMITTED
    message: AssistantMessage


@fact
class ToolMessageCommitted(Event):
    """The answers to a step's calls are part of the history."""

    kind = EventKind.TOOL_MESSAGE_COMMITTED
    message: ToolMessage


@fact
class NotificationsCommitted(Event):
    """Results of background tasks are part of the history."""

    kind = EventKind.NOTIFICATIONS_COMMITTED
    message: NotificationMessage


# -- tasks ---------------------------------------------------------------------------


@fact
class TaskEvent(Event):
    """A fact about one task."""

    task_id: TaskId
    call_id: CallId
    """The call that started the task; calls that joined it stand in its snapshot."""
    name: str


@fact
class TaskQueued(TaskEvent):
    """The task exists and waits for its permits. A second attempt is queued anew."""

    kind = EventKind.TASK_QUEUED
    attempt: int
    background: bool


@fact
class TaskStarted(TaskEvent):
    """An attempt of the task has begun."""

    kind = EventKind.TASK_STARTED
    attempt: int


@fact
class TaskProgressed(TaskEvent):
    """The task told how far it is."""

    kind = EventKind.TASK_PROGRESSED
    live = True
    index: int
    fraction: float | None
    """Between 0 and 1; None: unknown."""
    note: str

    @property
    def id(self) -> str:
        return f"{self.conversation_id}:{self.seq}.{self.index}"


@fact
class TaskDetached(TaskEvent):
    """The turn stopped waiting; the task goes on in the background."""

    kind = EventKind.TASK_DETACHED
    reason: str
    """`timer`, `host`, `interrupt` or `route`."""


@fact
class ApprovalRequested(TaskEvent):
    """A person has to decide before the task goes on."""

    kind = EventKind.APPROVAL_REQUESTED
    approval_id: ApprovalId
    arguments: str
    """The call's arguments as JSON text."""
    reason: str
    summary: str
    metadata: Mapping[str, Json]
    """Details that the tool gave with the question."""


@fact
class ApprovalDecided(TaskEvent):
    """An approval was decided, expired, or is no longer needed."""

    kind = EventKind.APPROVAL_DECIDED
    approval_id: ApprovalId
    decision: str
    by: str | None
    note: str | None


@fact
class TaskEnded(TaskEvent):
    """Base of the ends: exactly one for each task, when its work has stopped."""

    terminal = True
    duration: float
    """Seconds from the first start to the end; 0 if it never started."""


@fact
class TaskSucceeded(TaskEnded):
    """The tool returned."""

    kind = EventKind.TASK_SUCCEEDED
    metadata: Mapping[str, Json]


@fact
class TaskFailed(TaskEnded):
    """The tool raised, or said that it failed."""

    kind = EventKind.TASK_FAILED
    error: str
    error_type: str


@fact
class TaskCancelled(TaskEnded):
    """The task was asked to stop, and has stopped or was given up."""

    kind = EventKind.TASK_CANCELLED
    reason: str
    abandoned: bool
    """The work did not stop within its grace and may still be running."""


@fact
class TaskTimedOut(TaskEnded):
    """An attempt ran longer than its policy allows."""

    kind = EventKind.TASK_TIMED_OUT
    timeout: float
    """Seconds that the attempt was allowed."""
    abandoned: bool


@fact
class TaskDenied(TaskEnded):
    """A person or a policy said no."""

    kind = EventKind.TASK_DENIED
    reason: str
    abandoned: bool = False


@fact
class ContinueRequested(Event):
    """Results are ready that ask for a turn of their own. Follows the end of its tasks."""

    kind = EventKind.CONTINUE_REQUESTED
    task_ids: tuple[TaskId, ...]
    interrupt: bool = False
    """They may cut a reply that is streaming."""


# -- what a reader is told in place of events -------------------------------------------


@dataclass(frozen=True, slots=True)
class Lagged:
    """Stands in a subscription for events that came faster than they were read."""

    missed: int
    ended: int = 0
    """How many of them were the last event of a run or task; usually these are kept."""
