"""One call of a model: chunks come in, events go out, a message is put together."""

import asyncio
from typing import assert_never

from sidetask.core.errors import (
    IncompleteResponseError,
    ModelError,
    ModelStalledError,
    SidetaskError,
    TurnCancelledError,
)
from sidetask.core.events import (
    TextDelta,
    ThinkingDelta,
    ToolCallCompleted,
    ToolCallDelta,
    ToolCallStarted,
)
from sidetask.core.ids import CallId, ConversationId, RunId, TurnId
from sidetask.core.messages import AssistantMessage, AssistantPart, Text, Thinking, ToolCall
from sidetask.core.usage import Usage
from sidetask.models.base import (
    CallArguments,
    CallStarted,
    Chunk,
    Finished,
    Model,
    ModelRequest,
    TextChunk,
    ThinkingChunk,
)
from sidetask.tasks.aio.outbox import Outbox
from sidetask.tasks.aio.scope import Cuttable
from sidetask.tasks.aio.tokens import CancelToken

NEWS = "news"
"""Why a reply is cut: a result came that interrupts."""


class Reply:
    """A model's reply while it comes, and what it became."""

    __slots__ = ("_calls", "_parts", "_pieces", "_thinking", "cut_by", "finished", "scope")

    def __init__(self) -> None:
        self._parts: list[AssistantPart] = []
        self._pieces: list[str] = []
        self._thinking = False
        self._calls: dict[int, tuple[CallId, str, list[str]]] = {}
        self.finished: Finished | None = None
        self.scope: Cuttable | None = None
        self.cut_by: str | None = None

    @property
    def usage(self) -> Usage:
        return self.finished.usage if self.finished is not None else Usage(requests=1)

    def message(self) -> AssistantMessage | None:
        """What has come, whole or partial; None if that is nothing.

        A reply that did not finish keeps its text and loses its calls: half a call is never
        run, and a call that is not run needs no answer.
        """
        self._flush()
        parts = self._parts
        if self.finished is not None:
            calls = [ToolCall(i, name, "".join(args)) for i, name, args in self._calls.values()]
            parts = [*parts, *calls]
        return AssistantMessage(tuple(parts), partial=self.finished is None) if parts else None

    def text(self, piece: str) -> None:
        if self._thinking:
            self._flush()
        self._pieces.append(piece)

    def thought(self, piece: str, signature: str | None) -> None:
        if not self._thinking:
            self._flush()
            self._thinking = True
        self._pieces.append(piece)
        if signature is not None:
            self._flush(signature)

    def call_started(self, index: int, call_id: str, name: str) -> CallId:
        """Note a call; its id is made unique in this reply."""
        taken = {known for known, _, _ in self._calls.values()}
        unique = call_id or f"call-{index}"
        while unique in taken:
            unique += "+"
        self._calls[index] = CallId(unique), name, []
        return CallId(unique)

    def call_arguments(self, index: int, piece: str) -> CallId:
        try:
            call_id, _, pieces = self._calls[index]
        except KeyError:
            raise ModelError(f"the model sent arguments for call {index}, never begun") from None
        pieces.append(piece)
        return call_id

    def calls(self) -> list[tuple[CallId, str, str]]:
        return [(i, name, "".join(pieces)) for i, name, pieces in self._calls.values()]

    def _flush(self, signature: str | None = None) -> None:
        text = "".join(self._pieces)
        if self._thinking and (text or signature):
            self._parts.append(Thinking(text, signature))
        elif text:
            self._parts.append(Text(text))
        self._pieces.clear()
        self._thinking = False


class ReplyReader:
    """Reads replies for one turn."""

    __slots__ = ("_conversation_id", "_outbox", "_run_id", "_turn_id")

    def __init__(
        self, outbox: Outbox, conversation_id: ConversationId, turn_id: TurnId, run_id: RunId
    ) -> None:
        self._outbox = outbox
        self._conversation_id = conversation_id
        self._turn_id = turn_id
        self._run_id = run_id

    async def read(
        self,
        reply: Reply,
        model: Model,
        request: ModelRequest,
        *,
        token: CancelToken,
        patience: float | None,
    ) -> None:
        """Fill `reply` from a streamed model call.

        Raises:
            TurnCancelledError: The token was cancelled meanwhile.
            ModelError: The model failed, stalled, or was cut off. `reply` keeps what came.
        """
        if token.is_cancelled:
            raise TurnCancelledError(token.reason)
        try:
            with Cuttable(token, patience) as scope:
                reply.scope = scope
                async with model.stream(request) as chunks:
                    async for chunk in chunks:
                        scope.touch()
                        self._take(reply, chunk)
        except (SidetaskError, asyncio.CancelledError):
            raise
        except Exception as error:
            raise ModelError(f"{model.name} failed: {type(error).__name__}: {error}") from error
        finally:
            reply.scope = None
        reply.cut_by = scope.cut_by
        match scope.cut_by:
            case "token":
                raise TurnCancelledError(token.reason)
            case "silence":
                raise ModelStalledError(patience or 0.0)
            case None if reply.finished is None:
                raise IncompleteResponseError(
                    f"the stream of {model.name} ended in the middle; nothing of it was run"
                )
            case _:
                return

    def _take(self, reply: Reply, chunk: Chunk) -> None:
        match chunk:
            case TextChunk(text):
                reply.text(text)
                self._live(TextDelta, text=text)
            case ThinkingChunk(text, signature):
                reply.thought(text, signature)
                self._live(ThinkingDelta, text=text)
            case CallStarted(index, call_id, name):
                made = reply.call_started(index, call_id, name)
                self._live(ToolCallStarted, call_id=made, name=name)
            case CallArguments(index, text):
                made = reply.call_arguments(index, text)
                self._live(ToolCallDelta, call_id=made, arguments=text)
            case Finished():
                reply.finished = chunk
                for call_id, name, arguments in reply.calls():
                    self._live(ToolCallCompleted, call_id=call_id, name=name, arguments=arguments)
            case _:
                assert_never(chunk)

    def _live(
        self,
        event: type[
            TextDelta | ThinkingDelta | ToolCallStarted | ToolCallDelta | ToolCallCompleted
        ],
        **fields: object,
    ) -> None:
        self._outbox.live(
            event, self._conversation_id, turn_id=self._turn_id, run_id=self._run_id, **fields
        )
