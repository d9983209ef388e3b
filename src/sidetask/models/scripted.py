"""A model that plays a script: the double that tests, examples and benchmarks talk to.

    ScriptedModel("Hello.", [call("add", a=1, b=2)], reply("The sum is ", "3."))

A reply is a text, a tool call, an error to raise instead of answering, a sequence of parts,
or a function of the request that returns one of these; the function may be async, so that a
test can hold the model at an event. Parts are played in order:

* texts, tool calls (one without an id is given one), and chunks as they are;
* an error: raised there, in the middle of the stream;
* an `asyncio.Event`: the stream goes on when it is set;
* `flood(n)`, and the ends that `cut` and `stall` add.

A reply without a `Finished` of its own is given one, unless it is cut or stalls.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from inspect import isawaitable
from itertools import count, repeat
from types import TracebackType
from typing import TypeAlias

from sidetask.core.errors import ModelError
from sidetask.core.ids import CallId
from sidetask.core.jsons import Json
from sidetask.core.messages import ToolCall
from sidetask.core.usage import Price
from sidetask.models.base import (
    CallArguments,
    CallStarted,
    Chunk,
    Finished,
    ModelRequest,
    TextChunk,
)


class BadEnd(Enum):
    """How a reply ends that does not finish."""

    CUT = "cut"
    STALL = "stall"


@dataclass(frozen=True, slots=True)
class Flood:
    """Very many deltas of one text."""

    deltas: int
    text: str


Part: TypeAlias = str | ToolCall | Chunk | Exception | asyncio.Event | Flood | BadEnd
Reply: TypeAlias = Part | Sequence[Part]
Script: TypeAlias = Reply | Callable[[ModelRequest], Reply | Awaitable[Reply]]


def call(tool: str, /, **arguments: Json) -> ToolCall:
    """A tool call; the model gives it an id. For broken JSON make a `ToolCall` yourself."""
    return ToolCall(CallId(""), tool, json.dumps(arguments, ensure_ascii=False))


def reply(*parts: Part) -> tuple[Part, ...]:
    """A reply of several parts: `reply("Let me see.", call("look"))`."""
    return parts


def cut(*parts: Part) -> tuple[Part, ...]:
    """A reply whose connection breaks after these parts, without a `Finished`."""
    return (*parts, BadEnd.CUT)


def stall(*parts: Part) -> tuple[Part, ...]:
    """A reply that sends these parts and then nothing, for ever."""
    return (*parts, BadEnd.STALL)


def flood(deltas: int, text: str = "x") -> Flood:
    """A part, or a reply: that many deltas of `text`, as fast as they are taken."""
    return Flood(deltas, text)


class ScriptedModel:
    """Plays its replies, one for each call of the model.

    `requests` holds what each call was given, as it was then. With `loop=True` the script
    begins anew at its end; with `record=False` requests are not kept, which long runs need.

    Raises:
        ModelError: From `stream`, when the script has run out.
    """

    def __init__(
        self,
        *script: Script,
        delta: int | None = None,
        loop: bool = False,
        record: bool = True,
        name: str = "scripted",
        context_window: int | None = None,
        price: Price | None = None,
    ) -> None:
        self.name = name
        self.quota_key = name
        self.context_window = context_window
        self.price = price
        self.requests: list[ModelRequest] = []
        self.calls = 0
        """How often the model was called."""
        self._script = script
        self._delta = delta
        """Characters in a delta of text or arguments; None: the whole text is one delta."""
        self._loop = loop
        self._record = record
        self._call_ids = count(1)

    def stream(self, request: ModelRequest) -> "_Stream":
        return _Stream(self, request)

    async def open_reply(self, request: ModelRequest) -> AsyncGenerator[Chunk, None]:
        """Take the next reply of the script and begin to play it."""
        if self._record:
            self.requests.append(replace(request, messages=tuple(request.messages)))
        script = self._next()
        given = script(request) if callable(script) else script
        answer = await given if isawaitable(given) else given
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, str) or not isinstance(answer, Sequence):
            return self._play((answer,))
        return self._play(answer)

    def _next(self) -> Script:
        size, index = len(self._script), self.calls
        if self._loop and size:
            index %= size
        if index >= size:
            raise ModelError(f"the script has {size} replies and was asked for one more")
        self.calls += 1
        return self._script[index]

    async def _play(self, parts: Sequence[Part]) -> AsyncGenerator[Chunk, None]:
        calls = 0
        finished = False
        for part in parts:
            if isinstance(part, Exception):
                raise part
            if isinstance(part, asyncio.Event):
                await part.wait()
            elif part is BadEnd.CUT:
                return
            elif part is BadEnd.STALL:
                await asyncio.get_running_loop().create_future()
            else:
                for chunk in self._chunks(part, calls):
                    yield chunk
                calls += isinstance(part, ToolCall | CallStarted)
                finished = finished or isinstance(part, Finished)
        if not finished:
            yield Finished("tool_calls" if calls else "stop")

    def _chunks(self, part: str | ToolCall | Flood | Chunk, index: int) -> Iterable[Chunk]:
        match part:
            case str():
                return [TextChunk(text) for text in self._deltas(part)]
            case ToolCall():
                begun = CallStarted(index, part.id or f"call-{next(self._call_ids)}", part.name)
                arguments = [CallArguments(index, text) for text in self._deltas(part.arguments)]
                return [begun, *arguments]
            case Flood():
                return repeat(TextChunk(part.text), part.deltas)
            case _:
                return (part,)

    def _deltas(self, text: str) -> Sequence[str]:
        if self._delta is None:
            return (text,) if text else ()
        return [text[at : at + self._delta] for at in range(0, len(text), self._delta)]


class _Stream:
    """One call of the model: opens the reply, and closes it whatever happens inside."""

    __slots__ = ("_chunks", "_model", "_request")

    def __init__(self, model: ScriptedModel, request: ModelRequest) -> None:
        self._model = model
        self._request = request
        self._chunks: AsyncGenerator[Chunk, None] | None = None

    async def __aenter__(self) -> AsyncIterator[Chunk]:
        self._chunks = await self._model.open_reply(self._request)
        return self._chunks

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._chunks is not None:
            await self._chunks.aclose()
