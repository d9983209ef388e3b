"""What hosts are told besides: changes of the state, and their own code that failed."""

from sidetask.core.events.base import EventKind, LiveEvent, fact
from sidetask.core.ids import TaskId


@fact
class StateChanged(LiveEvent):
    """A key of the conversation's state was written. The value is not told: it may be large, or a
    secret; `chat.state` has it, and its journal."""

    kind = EventKind.STATE_CHANGED
    key: str
    version: int
    """Of the key: one more with every write."""
    created: bool
    deleted: bool
    source: str
    """Who wrote: `agent`, `tool`, `host`, ..."""
    task_id: TaskId | None


@fact
class ListenerFailed(LiveEvent):
    """A handler given to `runtime.on` raised, or was too slow. Later events still reach it."""

    kind = EventKind.LISTENER_FAILED
    listener: str
    """The handler's name."""
    event_id: str
    """The event that it was given."""
    error: str
    error_type: str


@fact
class TriggerFailed(LiveEvent):
    """A trigger of the conversation raised. It begins anew after a pause."""

    kind = EventKind.TRIGGER_FAILED
    trigger: str
    """Its name."""
    error: str
    error_type: str
    pause: float
    """Seconds."""
