"""A conversation's events as the text of a conversation: which of them are shown, and how."""

from collections.abc import Callable

from rich.text import Text

from sidetask.cli.view import render
from sidetask.core.events import (
    ApprovalDecided,
    ApprovalRequested,
    AssistantMessageCommitted,
    Event,
    Lagged,
    NotificationsCommitted,
    RunCancelled,
    RunFailed,
    RunStarted,
    TaskDetached,
    TaskEnded,
    TaskQueued,
    TextDelta,
    ToolMessageCommitted,
    UserMessageCommitted,
)
from sidetask.core.ids import ApprovalId, ConversationId, TaskId
from sidetask.core.jsons import JsonObject
from sidetask.core.messages import AssistantMessage


class Transcript:
    """Turns one conversation's events into lines. A reply's text is told line by line."""

    def __init__(
        self,
        *,
        limit: int | None = None,
        hints: bool = False,
        details: Callable[[ApprovalId], JsonObject] = lambda _: {},
        asker: Callable[[ConversationId], str] = lambda _: "",
    ) -> None:
        self._limit = limit
        """Lines of a result that are shown; None: all."""
        self._hints = hints
        """Whether a question is told with how to answer it."""
        self._details = details
        """What else a tool tells whoever is to decide."""
        self._asker = asker
        """Who asks, if it is not the agent itself."""
        self._background: set[TaskId] = set()
        self._begun = False
        self._reply = ""
        self._told = 0
        """Characters of the reply that were shown."""

    def lines(self, event: Event | Lagged) -> list[Text]:
        """What an event adds to the text."""
        match event:
            case Lagged(missed):
                return [render.note(f"… {missed:,} events came too fast to be shown …")]
            case UserMessageCommitted(message=message):
                return [*self._gap(), render.echo(message.text)]
            case RunStarted():
                self._reply, self._told = "", 0
                return []
            case TextDelta(text=text):
                return self._stream(text)
            case AssistantMessageCommitted(message=message):
                return self._replied(message)
            case ToolMessageCommitted(message=message):
                answers = message.results
                return [line for each in answers for line in render.result(each, self._limit)]
            case NotificationsCommitted(message=message):
                items = message.items
                return [line for each in items for line in render.notification(each, self._limit)]
            case _:
                return self._ended(event)

    def _ended(self, event: Event) -> list[Text]:
        """Ends, of turns and tasks, and decisions."""
        match event:
            case RunFailed(error=error, error_type="SeatError"):
                return [render.problem(f"refused: {error}")]
            case RunFailed(error=error, error_type=error_type):
                return [render.problem(f"the turn failed: {error_type}: {error}")]
            case RunCancelled(reason=reason):
                return [render.note(f"■ the turn is over: {reason}")]
            case ApprovalRequested():
                details = self._details(event.approval_id)
                asker = self._asker(event.conversation_id)
                return render.question(event, details=details, asker=asker, hint=self._hints)
            case ApprovalDecided(decision="approved" | "denied" | "expired"):
                by = f" by {event.by}" if event.by else ""
                why = f": {event.note}" if event.note else ""
                return [render.note(f"{event.approval_id} {event.decision}{by}{why}")]
            case TaskQueued(background=True, task_id=task_id) | TaskDetached(task_id=task_id):
                self._background.add(task_id)
                return []
            case TaskEnded() if event.task_id in self._background:
                self._background.discard(event.task_id)
                return [*self._gap(), render.task_end(event)]
            case _:
                return []

    def _gap(self) -> list[Text]:
        """A blank line before what begins anew."""
        gap, self._begun = [Text()] if self._begun else [], True
        return gap

    def _stream(self, text: str) -> list[Text]:
        self._reply += text
        whole = self._reply.rfind("\n") + 1
        if whole <= self._told:
            return []
        new, self._told = self._reply[self._told : whole - 1], whole
        return [render.said(new)]

    def _replied(self, message: AssistantMessage) -> list[Text]:
        rest = message.text[self._told :]
        self._reply, self._told = "", 0
        lines = [render.said(rest)] if rest else []
        if message.partial:
            lines.append(render.note("… the reply was cut here"))
        return lines + [render.call(each) for each in message.calls]
