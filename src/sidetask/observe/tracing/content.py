"""What was said, as the attributes of a span: only where a host has asked for it.

The shape is that of the conventions: messages with a role and parts. Pictures and files are told
by their type; their bytes belong in no trace.
"""

import json
from collections.abc import Iterable, Sequence
from typing import assert_never

from sidetask.core.jsons import Json
from sidetask.core.messages import (
    AssistantMessage,
    AssistantPart,
    File,
    Image,
    Message,
    NotificationMessage,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    UserMessage,
    UserPart,
)


def written(messages: Iterable[Message]) -> str:
    """Messages as the JSON text that the conventions want."""
    return json.dumps([told for message in messages for told in _told(message)], ensure_ascii=False)


def _told(message: Message) -> list[dict[str, Json]]:
    match message:
        case UserMessage(parts):
            return [{"role": "user", "parts": _parts(parts)}]
        case AssistantMessage(parts):
            return [{"role": "assistant", "parts": _parts(parts)}]
        case ToolMessage(results):
            answers: list[Json] = [
                {"type": "tool_call_response", "id": each.call_id, "response": each.content}
                for each in results
            ]
            return [{"role": "tool", "parts": answers}]
        case NotificationMessage(items):
            late: list[Json] = [{"type": "text", "content": each.framed} for each in items]
            return [{"role": "user", "parts": late}]
        case _:
            assert_never(message)


def _parts(parts: Sequence[UserPart | AssistantPart]) -> list[Json]:
    return [_part(part) for part in parts]


def _part(part: UserPart | AssistantPart) -> dict[str, Json]:
    match part:
        case Text(text):
            return {"type": "text", "content": text}
        case Thinking(text):
            return {"type": "reasoning", "content": text}
        case ToolCall(id, name, arguments):
            return {"type": "tool_call", "id": id, "name": name, "arguments": arguments}
        case Image() | File():
            return {"type": "blob", "mime_type": part.media_type}
        case _:
            assert_never(part)
