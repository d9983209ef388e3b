"""A turn as its reader sees it while it runs, and what is left of it when it has ended.

One buffer, many cursors: a reader that stops reading stalls nobody, one that comes late
misses nothing. When the turn has ended, its text deltas are folded into one.
"""

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Literal, Self

from sidetask.agents.turn.loop import TurnEnd
from sidetask.core.budget import Budget
from sidetask.core.errors import TurnCancelledError
from sidetask.core.events import Event, ModelStarted, TextDelta
from sidetask.core.ids import TaskId, TurnId, value
from sidetask.core.messages import UserMessage
from sidetask.core.turns import RunOrder
from sidetask.core.usage import Usage
from sidetask.tasks.aio.sleepers import NOBODY, sleep_among, wake_all
from sidetask.tasks.values import TaskSnapshot

Cause = Literal["user", "tasks", "trigger"]
"""Who began a turn: the user, results that came while the conversation was idle, or a trigger."""


@value(kw_only=True)
class Reply:
    """The whole answer of a turn. `str(reply)` is its text."""

    text: str
    turn_id: TurnId
    usage: Usage
    steps: int
    """Model calls."""
    pending: Sequence[TaskSnapshot]
    """The conversation's tasks that were still at work when the turn ended."""
    output: object
    """The structured output, if the agent has an `output_type`; else the text."""

    def __str__(self) -> str:
        return self.text


class ChatResponse:
    """One turn, running or ended.

    Await it for its `Reply`. Iterate it for its events, or `text_stream()` for its text; each
    iteration begins at the beginning.
    """

    __slots__ = (
        "_askers",
        "_pending",
        "_sleepers",
        "asked",
        "budget",
        "cause",
        "end",
        "events",
        "given",
        "message",
        "order",
        "sent",
        "task_ids",
        "turn_id",
    )

    def __init__(
        self,
        cause: Cause,
        task_ids: tuple[TaskId, ...] = (),
        *,
        order: RunOrder | None = None,
        sent: bool = False,
    ) -> None:
        self.cause = cause
        self.message: UserMessage | None = None
        """What was said to begin it; None: results began it."""
        self.asked: object = None
        """What the observer remembers of who said it."""
        self.budget: Budget | None = None
        """What the turn may spend, if whoever asked for it said so."""
        self.order = order
        """What the host said of the run, if it asked for it by a request."""
        self.task_ids = task_ids
        """The tasks whose results began this turn."""
        self.sent = sent
        """Its message was said by `send`: nobody who said it waits for the answer."""
        self.turn_id: TurnId | None = None
        """None until the turn is admitted."""
        self.given = False
        """Somebody has it: whoever asked, or a reader of `turns()`."""
        self.events: list[Event] = []
        self.end: TurnEnd | None = None
        self._sleepers = NOBODY
        """Those who wait for whatever comes next."""
        self._askers = NOBODY
        """Those who wait for the end."""
        self._pending: tuple[TaskSnapshot, ...] = ()

    @property
    def text(self) -> str:
        """The text of the turn's latest reply, as far as it has come."""
        return _latest_text(self.events) if self.end is None else self.end.text

    @property
    def status(self) -> Literal["running", "completed", "failed", "cancelled"]:
        return "running" if self.end is None else self.end.status

    @property
    def error(self) -> BaseException | None:
        """What the turn failed with, or was cancelled by."""
        return self.end.error if self.end is not None else None

    def __await__(self) -> Generator[object, None, Reply]:
        return self._reply().__await__()

    def __aiter__(self) -> "EventCursor":
        """Every event of the turn. A failed turn's error is raised after the last one; a
        cancelled turn just ends."""
        return EventCursor(self)

    def text_stream(self) -> "TextCursor":
        """The pieces of the text of all its replies; the end is as for its events."""
        return TextCursor(self)

    async def _reply(self) -> Reply:
        """The whole answer.

        Raises:
            TurnError: The turn failed, or was cancelled.
        """
        while (end := self.end) is None:
            self._askers = self._askers or []
            await sleep_among(self._askers)
        if end.error is not None:
            raise end.error
        assert self.turn_id is not None
        return Reply(
            text=end.text,
            turn_id=self.turn_id,
            usage=end.usage,
            steps=end.steps,
            pending=self._pending,
            output=end.output,
        )

    # -- for the driver ------------------------------------------------------------------

    def admit(self, turn_id: TurnId) -> bool:
        """The turn begins; False if nobody waits for that."""
        self.turn_id = turn_id
        if not self._sleepers:
            return False
        wake_all(self._sleepers)
        return True

    def append(self, event: Event) -> None:
        self.events.append(event)
        if self._sleepers:
            wake_all(self._sleepers)

    def finish(self, end: TurnEnd, pending: tuple[TaskSnapshot, ...] = ()) -> None:
        self.end = end
        self._pending = pending
        self.events = _folded(self.events)  # readers under way keep the list they have
        wake_all(self._sleepers)
        wake_all(self._askers)
        self._sleepers = self._askers = NOBODY

    async def more(self) -> None:
        """Wait until something has changed."""
        self._sleepers = self._sleepers or []
        await sleep_among(self._sleepers)


class EventCursor:
    """One reader's place in a turn."""

    __slots__ = ("_buffer", "_position", "_response")

    def __init__(self, response: ChatResponse) -> None:
        self._response = response
        self._buffer = response.events
        self._position = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while self._position >= len(self._buffer):
            end = self._response.end
            if end is not None:
                if end.error is None or isinstance(end.error, TurnCancelledError):
                    raise StopAsyncIteration
                raise end.error
            await self._response.more()
        event = self._buffer[self._position]
        self._position += 1
        return event


class TextCursor:
    """One reader's place in a turn's text."""

    __slots__ = ("_cursor",)

    def __init__(self, response: ChatResponse) -> None:
        self._cursor = EventCursor(response)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while True:
            event = await anext(self._cursor)
            if isinstance(event, TextDelta):
                return event.text


def _latest_text(events: list[Event]) -> str:
    """The text since the last model call began."""
    pieces: list[str] = []
    for event in reversed(events):
        if isinstance(event, ModelStarted):
            break
        if isinstance(event, TextDelta):
            pieces.append(event.text)
    return "".join(reversed(pieces))


def _folded(events: list[Event]) -> list[Event]:
    """The same events, each row of text deltas as one."""
    if list(map(type, events)).count(TextDelta) <= 1:
        return events
    folded: list[Event] = []
    row: list[TextDelta] = []
    for event in events:
        if isinstance(event, TextDelta):
            row.append(event)
            continue
        if row:
            folded.append(_joined(row))
            row = []
        folded.append(event)
    if row:
        folded.append(_joined(row))
    return folded


def _joined(row: list[TextDelta]) -> TextDelta:
    if len(row) == 1:
        return row[0]
    return replace(row[0], text="".join([delta.text for delta in row]))
