"""What a handler or a builder is given besides: where it is, and how to end what it is part of."""

from collections.abc import Callable

from sidetask.core.ids import ConversationId, RunId, TaskId, TurnId, value


@value(kw_only=True)
class ConversationContext:
    """Where an event happened, or a run is going to."""

    conversation_id: ConversationId
    run_id: RunId
    """Of the event; of one that is part of no run, the conversation's latest. Empty before its
    first."""
    turn_id: TurnId | None = None
    parent_id: TaskId | None = None


class Control:
    """Cancels the run that is being built."""

    __slots__ = ("_cancel",)

    def __init__(self, cancel: Callable[[str], object]) -> None:
        self._cancel = cancel

    def cancel(self, reason: str = "cancelled while it was built") -> None:
        """The run ends as cancelled, and no model is called, whatever the builder returns."""
        self._cancel(reason)
