"""What all events have: a kind, an envelope, and a class of being: facts and live events.

Two classes of events. *Facts* own a `seq`, counted from 1 in each conversation, and are
stored. *Live* events (deltas, progress) carry the last fact's seq and an index of their own;
they are never stored, and what they add up to is part of a later fact.

Events hold values only: no task objects, no callables, no open files.
"""

from enum import StrEnum
from typing import ClassVar, TypeVar, dataclass_transform

from sidetask.core.ids import ConversationId, RunId, TaskId, TurnId, value

Made = TypeVar("Made")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def fact(made: type[Made]) -> type[Made]:
    """Make an event's class: a value, all of whose fields are named."""
    return value(kw_only=True)(made)


class EventKind(StrEnum):
    """The name of each event class; `ANY` stands for all of them in a filter, views excepted."""

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
    TOOL_EXECUTION_STARTED = "tool_execution_started"
    TOOL_EXECUTION_FINISHED = "tool_execution_finished"
    USER_MESSAGE_COMMITTED = "user_message_committed"
    ASSISTANT_MESSAGE_COMMITTED = "assistant_message_committed"
    TOOL_MESSAGE_COMMITTED = "tool_message_committed"
    NOTIFICATIONS_COMMITTED = "notifications_committed"
    DOOM_LOOP_DETECTED = "doom_loop_detected"
    HISTORY_CLEARED = "history_cleared"
    HISTORY_COMPACTED = "history_compacted"
    COMPACTION_CIRCUIT_OPENED = "compaction_circuit_opened"
    QUOTA_HIT = "quota_hit"
    QUOTA_RESUMED = "quota_resumed"
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
    STATE_CHANGED = "state_changed"
    LISTENER_FAILED = "listener_failed"
    TRIGGER_FAILED = "trigger_failed"
    CHAT_STARTED = "chat_started"
    CHAT_TEXT_DELTA = "chat_text_delta"
    CHAT_TOOL_CALL_STARTED = "chat_tool_call_started"
    CHAT_TOOL_CALL_ARGUMENTS_DELTA = "chat_tool_call_arguments_delta"
    CHAT_TOOL_CALL_COMPLETED = "chat_tool_call_completed"
    CHAT_FINISHED = "chat_finished"


@value
class Event:
    """A fact about a conversation, with its envelope. Subclasses are named in the past tense.

    The envelope is also taken by place, which makes an event in half the time.
    """

    kind: ClassVar[EventKind]
    live: ClassVar[bool] = False
    terminal: ClassVar[bool] = False
    """The last event of a run or a task. A slow subscriber never loses it silently."""
    owed: ClassVar[bool] = False
    """It tells what is done already: while a store takes nothing it waits, and is not refused."""

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


# -- what a reader is told in place of events -------------------------------------------


@value
class Lagged:
    """Stands in a subscription for events that came faster than they were read."""

    missed: int
    ended: int = 0
    """How many of them were the last event of a run or task; usually these are kept."""
