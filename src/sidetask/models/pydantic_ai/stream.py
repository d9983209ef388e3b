"""pydantic-ai's stream of events as our chunks.

What is not known here is ignored, for new parts and events may come with any release: also the
deltas of tools that run at the provider. A call's arguments are handed on as they come; where
a provider sends them whole, as a mapping, they are one piece of JSON at the part's end.

A cleanly cut stream looks like a finished one, except that the provider gave no reason why it
finished. The models of pydantic-ai that are no provider's give none either and are exempt.
"""

import json
from collections.abc import AsyncGenerator, Iterator
from typing import Any

from pydantic_ai.messages import (
    ModelResponse,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.models import StreamedResponse

from sidetask.core.errors import IncompleteResponseError, ModelError, SafetyError
from sidetask.core.usage import Usage
from sidetask.models.base import (
    CallArguments,
    CallStarted,
    Chunk,
    Finished,
    TextChunk,
    ThinkingChunk,
)
from sidetask.models.pydantic_ai import memo
from sidetask.models.pydantic_ai.errors import Progress, mapped


async def chunks(
    response: StreamedResponse, name: str, progress: Progress, *, gives_reason: bool
) -> AsyncGenerator[Chunk]:
    """The reply as it comes, ending with `Finished`.

    Raises:
        ModelError: The provider failed in the middle, refused, or the stream was cut.
    """
    translation = Translation()
    with mapped(name, progress):
        async for event in response:
            for chunk in translation.take(event):
                progress.delivered = True
                yield chunk
    whole = response.get()
    _check(whole, name, gives_reason=gives_reason)
    note = memo.write(whole)
    if note is not None:
        yield ThinkingChunk("", note)
    yield Finished(_reason(whole) or whole.finish_reason or "stop", usage(whole))


class Translation:
    """Turns events into chunks, one by one."""

    __slots__ = ("_calls", "_whole")

    def __init__(self) -> None:
        self._calls: dict[int, int] = {}
        """Index of their part -> index of our call."""
        self._whole: dict[int, dict[str, Any]] = {}
        """Arguments that came as a mapping, and may still grow."""

    def take(self, event: object) -> Iterator[Chunk]:
        match event:
            case PartDeltaEvent(index=index, delta=delta):
                yield from self._grown(index, delta)
            case PartStartEvent(index=index, part=ToolCallPart() as part):
                yield from self._started(index, part)
            case PartStartEvent(part=TextPart(content=text)) if text:
                yield TextChunk(text)
            case PartStartEvent(part=ThinkingPart(content=text)) if text:
                yield ThinkingChunk(text)
            case PartEndEvent(index=index) if index in self._whole:
                text = json.dumps(self._whole.pop(index), ensure_ascii=False)
                yield CallArguments(self._calls[index], text)
            case _:
                return

    def _grown(self, index: int, delta: object) -> Iterator[Chunk]:
        match delta:
            case TextPartDelta(content_delta=text) if text:
                yield TextChunk(text)
            case ThinkingPartDelta(content_delta=text) if text:
                yield ThinkingChunk(text)
            case ToolCallPartDelta(args_delta=piece) if index in self._calls:
                yield from self._arguments(index, piece)
            case _:
                return

    def _started(self, index: int, part: ToolCallPart[Any]) -> Iterator[Chunk]:
        if index in self._calls:
            raise ModelError(f"the model began its call of {part.tool_name} a second time")
        self._calls[index] = len(self._calls)
        yield CallStarted(self._calls[index], part.tool_call_id, part.tool_name)
        yield from self._arguments(index, part.args)

    def _arguments(self, index: int, piece: str | dict[str, Any] | None) -> Iterator[Chunk]:
        match piece:
            case str():
                if piece:
                    yield CallArguments(self._calls[index], piece)
            case dict():
                self._whole[index] = {**self._whole.get(index, {}), **piece}
            case None:
                return


def usage(response: ModelResponse) -> Usage:
    """What the reply consumed, with its price where it is known."""
    used = response.usage
    return Usage(
        requests=1,
        input_tokens=used.input_tokens,
        cached_tokens=used.cache_read_tokens,
        output_tokens=used.output_tokens,
        usd=_usd(response),
    )


def _usd(response: ModelResponse) -> float:
    if response.usage.cost is not None:
        return float(response.usage.cost)
    try:
        return float(response.cost().total_price)
    except (LookupError, ValueError, AssertionError):  # no price, no usage, no model's name
        return 0.0


def _check(response: ModelResponse, name: str, *, gives_reason: bool) -> None:
    reason = _reason(response)
    match response.finish_reason:
        case "content_filter":
            why = (response.provider_details or {}).get("refusal") or reason or "no reason given"
            raise SafetyError(f"{name} refused to answer: {why}")
        case "error":
            raise ModelError(f"{name} could not finish its reply: {reason}")
        case "length" if any(_is_half(part) for part in response.parts):
            raise ModelError(
                f"{name} used up its tokens in the middle of a tool call: raise max_tokens"
            )
        case _ if reason is None and gives_reason:
            raise IncompleteResponseError(
                f"the stream of {name} ended in the middle; no call of it was run"
            )
        case _:
            return


def _reason(response: ModelResponse) -> str | None:
    """Why the provider says it finished. pydantic-ai's own `finish_reason` may be made up."""
    return (response.provider_details or {}).get("finish_reason")


def _is_half(part: object) -> bool:
    if not isinstance(part, ToolCallPart) or isinstance(part.args, dict):
        return False
    try:
        json.loads(part.args or "")
    except ValueError:
        return True
    return False
