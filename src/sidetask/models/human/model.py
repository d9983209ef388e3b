"""You drive: a person takes the model's seat.

What the user wrote since the last reply is what the model says now: each message a line of the
seat's language. With nothing written (results or notifications came last) the turn is yielded.
"""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count

from sidetask.core.messages import AssistantMessage, Message, ToolCall, UserMessage
from sidetask.core.usage import Price
from sidetask.models.base import (
    CallArguments,
    CallStarted,
    Chunk,
    Finished,
    ModelRequest,
    TextChunk,
)
from sidetask.models.human.seat import Ask, SeatError, asked, spoken

_REMEMBERED = 64


class HumanModel:
    """A model that says what the user writes."""

    name = "you"
    quota_key = "you"
    context_window: int | None = None
    price: Price | None = None

    def __init__(self) -> None:
        self._ids = count(1)
        # A refused line stays in the history without an answer. It is known by identity, since
        # the same words written again are refused again.
        self._refused: deque[UserMessage] = deque(maxlen=_REMEMBERED)

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[Chunk], None]:
        """Open the reply that the user wrote.

        Raises:
            SeatError: A line means no tool call. Nothing of what was written is done.
        """
        lines = self._lines(request.messages)
        try:
            said = [_read(line, request) for line in lines]
        except SeatError:
            self._refused.extend(lines)
            raise
        chunks = self._say(said, _call_ids(request.messages))
        try:
            yield chunks
        finally:
            await chunks.aclose()

    def _lines(self, messages: Sequence[Message]) -> list[UserMessage]:
        """What was written since the last reply and not refused, oldest first."""
        lines: list[UserMessage] = []
        for message in reversed(messages):
            if isinstance(message, AssistantMessage):
                break
            if isinstance(message, UserMessage) and not any(
                message is refused for refused in self._refused
            ):
                lines.append(message)
        return lines[::-1]

    async def _say(
        self, said: Sequence[str | list[Ask]], taken: set[str]
    ) -> AsyncGenerator[Chunk, None]:
        texts = calls = 0
        for line in said:
            if isinstance(line, str):
                yield TextChunk(f"\n{line}" if texts else line)
                texts += 1
                continue
            for ask in line:
                call = ToolCall.make(ask.tool, ask.arguments, id=self._next_id(taken))
                yield CallStarted(calls, call.id, call.name)
                yield CallArguments(calls, call.arguments)
                calls += 1
        yield Finished("tool_calls" if calls else "stop")

    def _next_id(self, taken: set[str]) -> str:
        """An id that no call of the history has; a conversation may be older than its seat."""
        return next(name for number in self._ids if (name := f"you-{number}") not in taken)


def _read(line: UserMessage, request: ModelRequest) -> str | list[Ask]:
    text = spoken(line.text)
    return asked(line.text, request.tools) if text is None else text


def _call_ids(messages: Sequence[Message]) -> set[str]:
    return {
        call.id
        for message in messages
        if isinstance(message, AssistantMessage)
        for call in message.calls
    }
