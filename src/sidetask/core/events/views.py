"""Views: other shapes of events that are told anyway, made for those who ask for their kind.

A view is no event of its own. It has the id, seq and time of the event it is made from, is
never stored, is part of neither `ANY` nor a replay, and costs nothing until somebody asks.

* `CHAT_*` is the stream of the model's replies alone, as hosts know it that only relay it.
* `TOOL_EXECUTION_*` is what a chat window shows of a task: that it works, and how it ended.
"""

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from types import MappingProxyType
from typing import ClassVar

from sidetask.core.events.base import Event, EventKind, LiveEvent, fact
from sidetask.core.events.runs import (
    ModelStarted,
    TextDelta,
    ToolCallCompleted,
    ToolCallDelta,
    ToolCallStarted,
    UsageRecorded,
)
from sidetask.core.events.tasks import TaskEnded, TaskEvent, TaskStarted
from sidetask.core.ids import CallId
from sidetask.core.usage import Usage


@fact
class ToolExecutionStarted(TaskEvent):
    """An attempt of a call begins to run."""

    kind = EventKind.TOOL_EXECUTION_STARTED
    of: ClassVar[type[Event]] = TaskStarted
    attempt: int


@fact
class ToolExecutionFinished(TaskEvent):
    """A call has its end, whichever; one that never ran has only this."""

    kind = EventKind.TOOL_EXECUTION_FINISHED
    of: ClassVar[type[Event]] = TaskEnded
    outcome: str
    """The task's status: `succeeded`, `failed`, `cancelled`, `timed_out` or `denied`."""
    duration: float
    """Seconds from the first start to the end; 0 if it never started."""


@fact
class ChatStarted(Event):
    """A model is being called."""

    kind = EventKind.CHAT_STARTED
    of: ClassVar[type[Event]] = ModelStarted
    step: int
    model: str


@fact
class ChatTextDelta(LiveEvent):
    """A piece of the reply's text."""

    kind = EventKind.CHAT_TEXT_DELTA
    of: ClassVar[type[Event]] = TextDelta
    text: str


@fact
class ChatToolCallStarted(LiveEvent):
    """The model began to write a tool call."""

    kind = EventKind.CHAT_TOOL_CALL_STARTED
    of: ClassVar[type[Event]] = ToolCallStarted
    call_id: CallId
    name: str


@fact
class ChatToolCallArgumentsDelta(LiveEvent):
    """A piece of a tool call's arguments, as JSON text."""

    kind = EventKind.CHAT_TOOL_CALL_ARGUMENTS_DELTA
    of: ClassVar[type[Event]] = ToolCallDelta
    call_id: CallId
    arguments: str


@fact
class ChatToolCallCompleted(LiveEvent):
    """The model has written a whole tool call."""

    kind = EventKind.CHAT_TOOL_CALL_COMPLETED
    of: ClassVar[type[Event]] = ToolCallCompleted
    call_id: CallId
    name: str
    arguments: str


@fact
class ChatFinished(Event):
    """The model's reply is complete, or was cut by news. A call that failed has none: its run's
    end follows."""

    kind = EventKind.CHAT_FINISHED
    of: ClassVar[type[Event]] = UsageRecorded
    usage: Usage
    model: str
    finish_reason: str


VIEWS: Mapping[EventKind, type[Event]] = MappingProxyType(
    {
        made.kind: made
        for made in (
            ToolExecutionStarted,
            ToolExecutionFinished,
            ChatStarted,
            ChatTextDelta,
            ChatToolCallStarted,
            ChatToolCallArgumentsDelta,
            ChatToolCallCompleted,
            ChatFinished,
        )
    }
)
"""The kinds that are views, and their classes."""


def view(event: Event, made: type[Event]) -> Event | None:
    """Return `event` as a view of class `made`, or None if it has no such view."""
    source, names = _recipe(made)
    if not isinstance(event, source):
        return None
    return made(**{name: getattr(event, name) for name in names})


@cache
def _recipe(made: type[Event]) -> tuple[type[Event], tuple[str, ...]]:
    source: type[Event] = vars(made)["of"]
    return source, tuple([field.name for field in fields(made)])
