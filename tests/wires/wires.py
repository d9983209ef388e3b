"""The four wires: how a model on each is made, and how each says the same things."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider

from sidetask.models.pydantic_ai import PydanticAIModel, openai_compatible
from tests.wires import rules

Body = dict[str, Any]


@dataclass(frozen=True)
class Wire:
    name: str
    model: Callable[[str], PydanticAIModel]
    """Makes a model that talks to a server at this address."""
    check: Callable[[Body], None]
    """Raises AssertionError for a request that the provider would refuse."""
    error: bytes
    """How the wire says in the middle of a reply that the provider is overloaded."""
    end: bytes
    """What is in the event that tells the reason of the end."""


def _chat(url: str) -> PydanticAIModel:
    return openai_compatible("gpt-5.2", f"{url}/v1", "key")


def _responses(url: str) -> PydanticAIModel:
    return openai_compatible("gpt-5.2", f"{url}/v1", "key", dialect="openai-responses")


def _anthropic(url: str) -> PydanticAIModel:
    provider = AnthropicProvider(api_key="key", base_url=url)
    return PydanticAIModel(AnthropicModel("claude-sonnet-5-5", provider=provider))


def _gemini(url: str) -> PydanticAIModel:
    provider = GoogleProvider(api_key="key", base_url=url)
    return PydanticAIModel(GoogleModel("gemini-2.5-flash", provider=provider))


def _data(body: Mapping[str, Any], event: str = "") -> bytes:
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {json.dumps(body)}".encode()


CHAT = Wire(
    "chat",
    _chat,
    rules.chat,
    _data({"error": {"message": "overloaded", "type": "server_error", "code": "server_error"}}),
    b'"finish_reason":"',
)
RESPONSES = Wire(
    "responses",
    _responses,
    rules.responses,
    _data(
        {
            "type": "error",
            "code": "server_error",
            "message": "overloaded",
            "param": None,
            "sequence_number": 99,
        },
        "error",
    ),
    b'"type":"response.completed"',
)
ANTHROPIC = Wire(
    "anthropic",
    _anthropic,
    rules.anthropic,
    _data(
        {"type": "error", "error": {"type": "overloaded_error", "message": "overloaded"}}, "error"
    ),
    b'"stop_reason":"',
)
GEMINI = Wire(
    "gemini",
    _gemini,
    rules.gemini,
    _data({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}),
    b'"finishReason":"',
)
WIRES = (CHAT, RESPONSES, ANTHROPIC, GEMINI)
