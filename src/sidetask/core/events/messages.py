"""Messages that became part of a history."""

from sidetask.core.events.base import Event, EventKind, fact
from sidetask.core.messages import (
    AssistantMessage,
    NotificationMessage,
    ToolMessage,
    UserMessage,
)


@fact
class UserMessageCommitted(Event):
    """A user's message is part of the history."""

    kind = EventKind.USER_MESSAGE_COMMITTED
    owed = True
    message: UserMessage


@fact
class AssistantMessageCommitted(Event):
    """A model's reply is part of the history."""

    kind = EventKind.ASSISTANT_MESSAGE_COMMITTED
    owed = True
    message: AssistantMessage


@fact
class ToolMessageCommitted(Event):
    """The answers to a step's calls are part of the history."""

    kind = EventKind.TOOL_MESSAGE_COMMITTED
    owed = True
    message: ToolMessage


@fact
class NotificationsCommitted(Event):
    """Results of background tasks are part of the history."""

    kind = EventKind.NOTIFICATIONS_COMMITTED
    owed = True
    message: NotificationMessage


@fact
class HistoryCleared(Event):
    """All messages were forgotten: the conversation begins anew."""

    kind = EventKind.HISTORY_CLEARED
    messages: int
    """How many there were."""
