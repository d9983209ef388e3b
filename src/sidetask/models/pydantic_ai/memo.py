"""What a provider wants back with a reply and our messages have no field for.

Signatures of thinking, ids of items, and the order of parts: some providers refuse a history
without them, others read it worse. They travel as one opaque text, the `signature` of the
reply's last `Thinking`, and name the provider, for a signature means nothing to another one.

The memo describes the parts of a reply by kind and length, so that they can be cut out of our
message again. If the message is not the one it was written for, it is not used.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic_ai.messages import ModelResponse, TextPart, ThinkingPart, ToolCallPart
from pydantic_core import to_jsonable_python

from sidetask.core.messages import AssistantMessage, Text, Thinking

MARK = "pydantic-ai:1:"
"""What a memo begins with; a signature without it was not written here."""

Part: TypeAlias = TextPart | ThinkingPart | ToolCallPart[Any]
"""The parts our messages hold; those of tools that ran at the provider they do not."""


@dataclass(frozen=True, slots=True)
class Memo:
    """A reply as it was: who wrote it, and its parts with all but their text."""

    provider: str | None
    url: str | None
    system: str | None
    parts: list[dict[str, Any]]


def write(response: ModelResponse) -> str | None:
    """The memo of a finished reply; None if a plain history says as much."""
    parts = [
        part for part in response.parts if isinstance(part, TextPart | ThinkingPart | ToolCallPart)
    ]
    if not any(_matters(part) for part in parts):
        return None
    body = {
        "provider": response.provider_name,
        "url": response.provider_url,
        "system": response.canonical_system,
        "parts": [_described(part) for part in parts],
    }
    plain = to_jsonable_python(body, bytes_mode="base64", fallback=str)
    return MARK + json.dumps(plain, separators=(",", ":"))


def read(message: AssistantMessage) -> Memo | None:
    """The memo that a message carries."""
    for part in reversed(message.parts):
        if isinstance(part, Thinking) and part.signature and part.signature.startswith(MARK):
            try:
                return Memo(**json.loads(part.signature.removeprefix(MARK)))
            except (ValueError, TypeError):
                return None
    return None


def restore(
    memo: Memo, message: AssistantMessage, calls: Sequence[ToolCallPart[Any]]
) -> ModelResponse | None:
    """The reply as the provider sent it; None if the message is not that reply any more."""
    text = "".join([part.text for part in message.parts if isinstance(part, Text)])
    thoughts = "".join([part.text for part in message.parts if isinstance(part, Thinking)])
    kinds = [each["kind"] for each in memo.parts]
    fits = (
        _size(memo, "text") == len(text)
        and _size(memo, "thinking") == len(thoughts)
        and kinds.count("call") == len(calls)
    )
    if not fits:
        return None
    return ModelResponse(
        parts=list(_cut_out(memo, text, thoughts, iter(calls))),
        provider_name=memo.provider,
        provider_url=memo.url,
        canonical_system=memo.system,
    )


def _cut_out(
    memo: Memo, text: str, thoughts: str, calls: Iterator[ToolCallPart[Any]]
) -> Iterator[Part]:
    for each in memo.parts:
        size: int = each.get("size", 0)
        match each["kind"]:
            case "text":
                part, text = TextPart(text[:size]), text[size:]
            case "thinking":
                part = ThinkingPart(thoughts[:size], signature=each.get("signature"))
                thoughts = thoughts[size:]
            case _:
                part = next(calls)
        part.id = each.get("id")
        part.provider_name = each.get("provider")
        part.provider_details = each.get("details")
        yield part


def _size(memo: Memo, kind: str) -> int:
    return sum(each.get("size", 0) for each in memo.parts if each["kind"] == kind)


def _matters(part: Part) -> bool:
    """Whether the provider misses something if only the part's text comes back."""
    if part.provider_details:
        return True
    return isinstance(part, ThinkingPart) and bool(part.id or part.signature)


def _described(part: Part) -> dict[str, Any]:
    said = {"id": part.id, "provider": part.provider_name, "details": part.provider_details}
    match part:
        case TextPart():
            said |= {"kind": "text", "size": len(part.content)}
        case ThinkingPart():
            said |= {"kind": "thinking", "size": len(part.content), "signature": part.signature}
        case ToolCallPart():
            said |= {"kind": "call"}
    return {key: value for key, value in said.items() if value}
