"""A model of Pydantic AI that plays replies one by one, and keeps what it was asked."""

import json
from collections.abc import AsyncIterator
from typing import Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel
from pydantic_ai.models.test import TestModel as TheirTestModel
from pydantic_ai.tools import ToolDefinition

__all__ = ["Played", "TheirTestModel", "calls"]

OURS = {"read_output"}
"""What every agent has."""

Reply = str | list[tuple[str, dict[str, Any]]]


def calls(name: str, /, **arguments: Any) -> list[tuple[str, dict[str, Any]]]:
    """A reply that calls one tool."""
    return [(name, arguments)]


class Played:
    """Each reply is a text, or a list of calls."""

    def __init__(self, *replies: Reply) -> None:
        self._replies = list(replies)
        self.messages: list[list[ModelMessage]] = []
        self.infos: list[AgentInfo] = []
        self.model = FunctionModel(stream_function=self._play)

    async def whole(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        """The next reply in one piece, for Pydantic AI's own loop."""
        self.messages.append(list(messages))
        self.infos.append(info)
        reply = self._replies.pop(0)
        if isinstance(reply, str):
            return ModelResponse(parts=[TextPart(reply)])
        return ModelResponse(parts=[ToolCallPart(name, given) for name, given in reply])

    async def _play(
        self, messages: list[ModelMessage], info: AgentInfo
    ) -> AsyncIterator[str | DeltaToolCalls]:
        self.messages.append(list(messages))
        self.infos.append(info)
        reply = self._replies.pop(0)
        if isinstance(reply, str):
            yield reply
            return
        number = len(self.infos)
        for index, (name, arguments) in enumerate(reply):
            told = DeltaToolCall(name, json.dumps(arguments), tool_call_id=f"c{number}.{index}")
            yield {index: told}

    def answers(self, request: int) -> list[str]:
        """What the tools have answered, as the model read it in its request number `request`."""
        return [
            part.model_response_str(wrap_if_error=False)
            for message in self.messages[request]
            if isinstance(message, ModelRequest)
            for part in message.parts
            if isinstance(part, ToolReturnPart)
        ]

    def system(self, request: int) -> list[str]:
        return [
            part.content
            for message in self.messages[request]
            for part in message.parts
            if isinstance(part, SystemPromptPart)
        ]

    def definitions(self, request: int) -> dict[str, ToolDefinition]:
        """The agent's own tools, as the model was told of them."""
        told = self.infos[request].function_tools
        return {tool.name: tool for tool in told if tool.name not in OURS}

    def tools(self, request: int) -> list[str]:
        return list(self.definitions(request))
