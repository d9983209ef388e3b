"""One call of a model: chunks come in, events go out, a message is put together."""

import logging
from collections.abc import Callable, Sequence
from typing import assert_never

from sidetask.core.errors import (
    IncompleteResponseError,
    ModelError,
    ModelStalledError,
    SidetaskError,
    TurnCancelledError,
)
from sidetask.core.events import (
    LiveEvent,
    TextDelta,
    ThinkingDelta,
    ToolCallCompleted,
    ToolCallDelta,
    ToolCallStarted,
)
from sidetask.core.ids import CallId
from sidetask.core.messages import AssistantMessage, AssistantPart, Text, Thinking, ToolCall
from sidetask.core.usage import ONE_REQUEST, Usage
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
from sidetask.tasks.aio.scope import Cuttable
from sidetask.tasks.aio.tokens import CancelToken

NEWS = "news"
"""Why a reply is cut: a result came that interrupts."""

_log = logging.getLogger(__name__)


def _untold(event: type[LiveEvent], **fields: object) -> None:
    """For replies that are nobody's but ours."""


class Draft:
    """A model's reply while it comes, and what it became."""

    __slots__ = (
        "_calls",
        "_ids",
        "_live",
        "_parts",
        "_pieces",
        "_thinking",
        "calls",
        "cut_by",
        "finished",
        "reason",
        "scope",
        "usage",
    )

    def __init__(self, ids: dict[CallId, None], live: Callable[..., None] = _untold) -> None:
        """`ids`: the call ids that are taken. `live` is told of each chunk."""
        self._ids = ids
        self._live = live
        self._parts: list[AssistantPart] = []
        self._pieces: list[str] = []
        self._thinking = False
        self._calls: dict[int, tuple[CallId, str, list[str]]] = {}
        self.finished: Finished | None = None
        self.reason = ""
        """Why it finished, in the provider's words."""
        self.usage: Usage = ONE_REQUEST
        self.calls: Sequence[ToolCall] = ()
        """Those of a reply that has finished."""
        self.scope: Cuttable | None = None
        """What cuts it, while it comes."""
        self.cut_by: str | None = None

    @property
    def has_begun(self) -> bool:
        """Whether anything of the reply was handed on."""
        return bool(self._parts or self._pieces or self._calls)

    def message(self) -> AssistantMessage | None:
        """What has come, whole or partial; None if that is nothing.

        A reply that did not finish keeps its text and loses its calls: half a call is never
        run, and a call that is not run needs no answer.
        """
        self._flush()
        parts = (*self._parts, *self.calls)
        return AssistantMessage(parts, self.finished is None) if parts else None

    def take(self, chunk: Chunk) -> None:
        """A piece of it has come."""
        match chunk:
            case TextChunk():
                if self._thinking:
                    self._flush()
                self._pieces.append(chunk.text)
                self._live(TextDelta, text=chunk.text)
            case ThinkingChunk(text, signature):
                self._thought(text, signature)
                self._live(ThinkingDelta, text=text)
            case CallStarted(index, call_id, name):
                made = self._call_started(index, call_id, name)
                self._live(ToolCallStarted, call_id=made, name=name)
            case CallArguments(index, text):
                made = self._call_arguments(index, text)
                self._live(ToolCallDelta, call_id=made, arguments=text)
            case Finished():
                self._finish(chunk)
            case _:
                assert_never(chunk)

    def _thought(self, piece: str, signature: str | None) -> None:
        if not self._thinking:
            self._flush()
            self._thinking = True
        self._pieces.append(piece)
        if signature is not None:
            self._flush(signature)

    def _call_started(self, index: int, call_id: str, name: str) -> CallId:
        """Note a call. It gets an id of its own where the model gave it none, or a used one."""
        if index in self._calls:
            raise ModelError(f"the model began call {index} twice")
        made, number = CallId(call_id), len(self._ids)
        while not made or made in self._ids:
            number += 1
            made = CallId(f"{call_id or 'call'}-{number}")
        self._ids[made] = None
        self._calls[index] = made, name, []
        return made

    def _call_arguments(self, index: int, piece: str) -> CallId:
        if index not in self._calls:
            raise ModelError(f"the model sent arguments for call {index}, never begun")
        call_id, _, pieces = self._calls[index]
        pieces.append(piece)
        return call_id

    def _finish(self, chunk: Finished) -> None:
        """The reply is whole, and so are its calls."""
        self.finished = chunk
        self.reason = chunk.reason
        self.usage = chunk.usage
        self.calls = [
            ToolCall(call_id, name, "".join(pieces))
            for call_id, name, pieces in self._calls.values()
        ]
        for call in self.calls:
            self._live(ToolCallCompleted, call_id=call.id, name=call.name, arguments=call.arguments)

    def _flush(self, signature: str | None = None) -> None:
        text = "".join(self._pieces)
        if self._thinking and (text or signature):
            self._parts.append(Thinking(text, signature))
        elif text:
            self._parts.append(Text(text))
        self._pieces.clear()
        self._thinking = False


async def read_reply(
    draft: Draft,
    model: Model,
    request: ModelRequest,
    token: CancelToken,
    patience: float | None,
) -> None:
    """Fill `draft` from a streamed model call, which is given up after `patience` seconds of
    silence.

    Raises:
        TurnCancelledError: The turn's token was cancelled meanwhile.
        ModelError: The model failed, stalled, or was cut off. `draft` keeps what came.
    """
    if token.is_cancelled:
        raise TurnCancelledError(token.reason)
    draft.scope = scope = Cuttable(token, patience)
    fault: Exception | None = None
    try:
        async with scope, model.stream(request) as chunks:
            scope.touch()
            async for chunk in chunks:
                scope.touch()
                draft.take(chunk)
                if draft.finished is not None:
                    break
    except Exception as error:  # noqa: BLE001 - the one boundary: vendors' faults, judged below
        fault = error
    finally:
        draft.scope = None
    draft.cut_by = scope.cut_by
    _judge(draft, fault, model, token, patience)


def _judge(
    draft: Draft,
    fault: Exception | None,
    model: Model,
    token: CancelToken,
    patience: float | None,
) -> None:
    """Raise what is wrong with a reply. What has finished is whole, however it was closed; what a
    model raises that was cut is no fault of its own."""
    match draft.cut_by:
        case "token":
            raise TurnCancelledError(token.reason) from fault
        case _ if draft.finished is not None:
            if fault is not None:
                _log.debug("closing a finished reply of %s", model.name, exc_info=fault)
        case "silence":
            raise ModelStalledError(patience or 0.0) from fault
        case "inside":
            raise ModelError(f"{model.name} failed: something that it awaited was cancelled")
        case None if isinstance(fault, SidetaskError):
            raise fault
        case None if fault is not None:
            raise ModelError(f"{model.name} failed: {type(fault).__name__}: {fault}") from fault
        case None:
            raise IncompleteResponseError(
                f"the stream of {model.name} ended in the middle; nothing of it was run"
            )
        case _:
            return
