"""A model of pydantic-ai as a model of ours."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import cached_property
from hashlib import sha256
from typing import Any, TypeAlias, cast
from weakref import WeakKeyDictionary

from genai_prices import Usage as Tokens
from genai_prices import calc_price
from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import InstructionPart
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from sidetask.core.jsons import Json
from sidetask.core.usage import Price
from sidetask.models.base import Chunk, ModelRequest, ToolSchema
from sidetask.models.pydantic_ai.errors import Progress, mapped
from sidetask.models.pydantic_ai.messages import theirs
from sidetask.models.pydantic_ai.sockets import closed_sockets, watch
from sidetask.models.pydantic_ai.stream import chunks

AnyModel: TypeAlias = Model[Any]
PRICED = 1_000
"""Tokens at which the price of one is measured: below every threshold of a tiered price."""


class PydanticAIModel:
    """Any model that pydantic-ai has, or a function that makes one.

        PydanticAIModel(GroqModel("llama-3.3-70b"))
        PydanticAIModel(lambda: GroqModel("llama-3.3-70b"))

    Connections belong to an event loop. With a function every loop gets a model of its own, so
    that the same value serves scripts that run one loop after another.

    `settings` go with every call, before those of the agent. Two are set unless you say
    otherwise: `max_retries` is 0, so that a rate limit is told at once and waited for by us, and
    `cache` is True, which marks the prompt for the provider's cache where the wire has marks.
    """

    def __init__(
        self,
        model: AnyModel | Callable[[], AnyModel],
        *,
        name: str | None = None,
        settings: Mapping[str, Json] | None = None,
    ) -> None:
        self._make = None if isinstance(model, Model) else model
        self._model: AnyModel = cast("AnyModel", model) if isinstance(model, Model) else model()
        self._unused = True
        self._per_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, AnyModel] = WeakKeyDictionary()
        self.name = name or self._model.model_id
        self._settings = dict(settings or {})
        self._told: tuple[tuple[ToolSchema, ...], list[ToolDefinition]] = ((), [])

    @property
    def quota_key(self) -> str:
        """Provider, address and API key, as a digest."""
        return self._quota_key

    @cached_property
    def _quota_key(self) -> str:
        model = self._model
        said = f"{model.system}\0{model.base_url}\0{_api_key(model)}"
        return sha256(said.encode()).hexdigest()[:32]

    @property
    def context_window(self) -> int | None:
        return self._model.context_window

    @property
    def price(self) -> Price | None:
        """What the tables that come with pydantic-ai say; None: they don't know the model."""
        return self._price

    @cached_property
    def _price(self) -> Price | None:
        try:
            return Price(
                input=self._dollars(input_tokens=PRICED),
                output=self._dollars(output_tokens=PRICED),
                cached=self._dollars(input_tokens=PRICED, cache_read_tokens=PRICED),
            )
        except LookupError:
            return None

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[Chunk]]:
        model, progress = self._here(), Progress()
        parameters = ModelRequestParameters(
            function_tools=self._tools(request.tools),
            instruction_parts=[InstructionPart(request.instructions)]
            if request.instructions
            else [],
        )
        settings = self._settled(model, request.settings)
        marked = bool(settings.get("cache"))
        history = theirs(request.messages, model.system, tail=request.tail, marked=marked)
        with mapped(self.name, progress):
            opened = model_request_stream(
                model,
                model.prepare_messages(history, parameters),
                model_settings=settings,
                model_request_parameters=parameters,
            )
            async with closed_sockets(), opened as response:
                gives_reason = not isinstance(_innermost(model), FunctionModel | TestModel)
                reply = chunks(response, self.name, progress, gives_reason=gives_reason)
                async with aclosing(reply):
                    yield reply

    async def aclose(self) -> None:
        """Close the connections of the running loop. A later call opens new ones, if this was
        made with a function."""
        model = self._per_loop.pop(asyncio.get_running_loop(), None)
        if model is not None:
            async with model:  # leaving it closes the client that it owns
                pass

    def _here(self) -> AnyModel:
        """The model of the running loop; the first loop gets the one that was made to look at."""
        loop = asyncio.get_running_loop()
        found = self._per_loop.get(loop)
        if found is None:
            fresh = self._unused or self._make is None
            self._unused = False
            found = self._per_loop[loop] = self._model if fresh or not self._make else self._make()
            watch(_client(found))
        return found

    def _tools(self, tools: tuple[ToolSchema, ...]) -> list[ToolDefinition]:
        if self._told[0] is not tools:
            self._told = (tools, _definitions(tools))
        return self._told[1]

    def _settled(self, model: AnyModel, settings: Mapping[str, Json]) -> ModelSettings:
        defaults: dict[str, Json] = {"cache": True}
        if "max_retries" not in model.unsupported_settings:
            defaults["max_retries"] = 0
        return cast("ModelSettings", {**defaults, **self._settings, **settings})

    def _dollars(self, **tokens: int) -> float:
        model = self._model
        price = calc_price(Tokens(**tokens), model.model_name, provider_id=model.system)
        return float(price.total_price) * 1_000_000 / PRICED


def _definitions(tools: Sequence[ToolSchema]) -> list[ToolDefinition]:
    return [
        ToolDefinition(
            name=tool.name,
            description=tool.description,
            parameters_json_schema=dict(tool.parameters),
        )
        for tool in tools
    ]


def _innermost(model: AnyModel) -> AnyModel:
    while isinstance(model, WrapperModel):
        model = model.wrapped
    return model


def _api_key(model: AnyModel) -> str:
    """The key that the vendor's client holds; "" where it has none, or one that changes."""
    client = _client(model)
    inner = getattr(client, "_api_client", client)  # where Google's keeps it
    key = getattr(inner, "api_key", None)
    return key if isinstance(key, str) else ""


def _client(model: AnyModel) -> Any:
    """The vendor's client."""
    return model.provider.client if model.provider is not None else None
