"""Our history in pydantic-ai's words.

Neighbours that speak with one voice become one message, for some wires want the voices to
alternate and all of them want the answers to calls first. A call's arguments go as the text
that the model wrote; text that is no JSON object, which no wire takes, is wrapped.
"""

import mimetypes
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, assert_never

from pydantic_ai.messages import (
    AudioUrl,
    BinaryContent,
    CachePoint,
    DocumentUrl,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
    VideoUrl,
)

from sidetask.core.errors import InvalidInputError
from sidetask.core.messages import (
    AssistantMessage,
    Attachment,
    File,
    Image,
    Message,
    NotificationMessage,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    ToolResult,
    UserMessage,
    UserPart,
)
from sidetask.models.pydantic_ai import memo

NOT_JSON = "text_that_is_not_json"
"""The one argument of a call whose arguments are no JSON object, when it is told again."""
URLS = {"image": ImageUrl, "audio": AudioUrl, "video": VideoUrl}


def theirs(
    history: Iterable[Message], system: str, *, tail: str = "", marked: bool = False
) -> list[ModelMessage]:
    """The history as `system`, the provider that is asked, will read it, and the tail after it.

    `marked` sets the mark of the provider's cache before the tail: behind it, nothing of what is
    cached would ever be asked for again.
    """
    messages: list[ModelMessage] = []
    for message in history:
        match message:
            case UserMessage():
                _add(messages, [UserPromptPart(_content(message.parts))])
            case ToolMessage():
                _add(messages, [_answer(result) for result in message.results])
            case NotificationMessage():
                _add(messages, [UserPromptPart(list(_told(message)))])
            case AssistantMessage():
                response = _reply(message, system)
                if response.parts:
                    messages.append(response)
            case _:
                assert_never(message)
    if tail:
        follows = bool(messages) and isinstance(messages[-1], ModelRequest)
        _add(messages, [UserPromptPart([CachePoint(), tail] if marked and follows else tail)])
    return messages


def _add(messages: list[ModelMessage], parts: Sequence[ModelRequestPart]) -> None:
    last = messages[-1] if messages else None
    if isinstance(last, ModelRequest):
        last.parts = [*last.parts, *parts]
    else:
        messages.append(ModelRequest(parts=parts))


# -- what the model is told ----------------------------------------------------------------------


def _content(parts: Sequence[UserPart]) -> str | list[UserContent]:
    match parts:
        case [Text(text)]:
            return text
        case _:
            return [part.text if isinstance(part, Text) else _attached(part) for part in parts]


def _told(message: NotificationMessage) -> Iterator[UserContent]:
    for item in message.items:
        yield item.framed
        yield from map(_attached, item.attachments)


def _answer(result: ToolResult) -> ToolReturnPart[Any]:
    attached = [_attached(each) for each in result.attachments]
    return ToolReturnPart(
        result.name,
        [result.content, *attached] if attached else result.content,
        result.call_id,
        outcome="failed" if result.is_error else "success",
    )


def _attached(part: Attachment) -> BinaryContent | ImageUrl | AudioUrl | VideoUrl | DocumentUrl:
    name = part.name if isinstance(part, File) else None
    if part.data is not None:
        return BinaryContent(part.data, media_type=part.media_type, identifier=name)
    url = part.url or ""
    if url.startswith("data:"):
        return BinaryContent.from_data_uri(url)
    # An image's media type may be the default: what the address says counts for more.
    guessed = mimetypes.guess_type(url)[0] if isinstance(part, Image) else None
    media_type = guessed or part.media_type
    make = URLS.get(media_type.partition("/")[0], DocumentUrl)
    return make(url, media_type=media_type, identifier=name)


# -- what the model said -------------------------------------------------------------------------


def _reply(message: AssistantMessage, system: str) -> ModelResponse:
    calls = [_call(call) for call in message.calls]
    note = memo.read(message)
    restored = memo.restore(note, message, calls) if note is not None else None
    return restored or ModelResponse(parts=list(_plain(message, calls, system)))


def _plain(
    message: AssistantMessage, calls: Sequence[ToolCallPart[Any]], system: str
) -> Iterator[TextPart | ThinkingPart | ToolCallPart[Any]]:
    """A reply without a usable memo. Thinking that was cut off is worth nothing, and unsigned."""
    rest = iter(calls)
    for part in message.parts:
        match part:
            case Text():
                yield TextPart(part.text)
            case Thinking(text, signature) if signature and not signature.startswith(memo.MARK):
                yield ThinkingPart(text, signature=signature, provider_name=system)
            case Thinking(text) if text and not message.partial:
                yield ThinkingPart(text)
            case Thinking():
                pass
            case ToolCall():
                yield next(rest)
            case _:
                assert_never(part)


def _call(call: ToolCall) -> ToolCallPart[Any]:
    try:
        call.parsed()
    except InvalidInputError:
        return ToolCallPart(call.name, {NOT_JSON: call.arguments}, call.id)
    return ToolCallPart(call.name, call.arguments, call.id)
