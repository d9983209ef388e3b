"""Runs: their begin, the model calls inside them, and their one end."""

from collections.abc import Mapping

from sidetask.core.events.base import Event, EventKind, LiveEvent, fact
from sidetask.core.ids import CallId, ConversationId, TaskId
from sidetask.core.jsons import Json
from sidetask.core.usage import Usage


@fact
class RunStarted(Event):
    """A turn began."""

    kind = EventKind.RUN_STARTED
    cause: str
    """`user`, `tasks` or `trigger`."""
    task_ids: tuple[TaskId, ...] = ()
    """The tasks whose ends started this turn, when nobody asked for it."""
    client_request_id: str | None = None
    """As the request named it that asked for this run."""
    metadata: Mapping[str, Json] | None = None
    """Of that request."""
    parent_conversation_id: ConversationId | None = None
    """Of the agent whose sub-agent this is."""


@fact
class RunCompleted(Event):
    """The turn reached its end."""

    kind = EventKind.RUN_COMPLETED
    terminal = True
    owed = True
    text: str
    steps: int
    usage: Usage
    finish_reason: str = ""
    """Of the last reply, in the provider's words."""


@fact
class RunFailed(Event):
    """The turn ended with an error; the history is valid."""

    kind = EventKind.RUN_FAILED
    terminal = True
    owed = True
    error: str
    error_type: str


@fact
class RunCancelled(Event):
    """The turn was interrupted or cancelled; the history is valid."""

    kind = EventKind.RUN_CANCELLED
    terminal = True
    owed = True
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
    finish_reason: str = ""
    """In the provider's words; empty: the reply was cut."""
    step: int | None = None
    """Of the turn; None: no reply of it, but a summary of its conversation."""
