"""The model of a moved-in agent: before each call the agent has its say.

It stands at Pydantic AI's own seam, so that nothing of a tool's definition, an instruction or a
setting has to pass through words of ours.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

from pydantic_ai import RunContext
from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from sidetask.core.errors import ConfigurationError
from sidetask.interop.pydantic_ai.running import MovedRun

DEFAULTS = frozenset({"cache", "max_retries"})
"""Settings that every call has, unless somebody says otherwise."""


class MovedModel(WrapperModel):
    """Sends what the agent would send, and beside it the tools that are ours."""

    def __init__(
        self,
        wrapped: Model[Any],
        run: MovedRun,
        own: frozenset[str],
        *,
        instrument: InstrumentationSettings | bool,
    ) -> None:
        super().__init__(wrapped)
        self._run = run
        self._instrument = instrument
        self._own = own
        """Names of the agent's tools."""

    def prepare_messages(
        self,
        messages: list[ModelMessage],
        model_request_parameters: ModelRequestParameters | None = None,
    ) -> list[ModelMessage]:
        """As they are: they are prepared when the agent's prompts are among them."""
        return messages

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        step = await self._run.step(messages)
        parameters = replace(
            model_request_parameters,
            function_tools=self._told(model_request_parameters.function_tools, step.tools),
            instruction_parts=[
                *step.instructions,
                *(model_request_parameters.instruction_parts or ()),
            ],
        )
        settings = _merged(
            dict(model_settings or {}), {**(self.wrapped.settings or {}), **step.settings}
        )
        async with model_request_stream(
            self.wrapped,
            self.wrapped.prepare_messages(step.messages, parameters),
            model_settings=cast("ModelSettings", settings),
            model_request_parameters=parameters,
            instrument=self._instrument,  # what holds for all agents is seen to by the caller
        ) as response:
            yield response
            self._run.heard(response.get())

    def _told(
        self, asked: list[ToolDefinition], now: dict[str, ToolDefinition]
    ) -> list[ToolDefinition]:
        """Our tools, and of the agent's those that it has in this step."""
        late = now.keys() - self._own
        if late:
            raise ConfigurationError(
                f"the agent was opened without its tool {', '.join(sorted(late))}: a toolset has"
                " to list it when the agent is opened"
            )
        told = [now.get(each.name, each) for each in asked]
        return [each for each in told if each.name in now or each.name not in self._own]


def _merged(given: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The agent's own settings, below those of this one run and above what holds for all."""
    return {**own, **{key: given[key] for key in given if key not in own or key not in DEFAULTS}}
