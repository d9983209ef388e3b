"""The model as the runtime holds it: what it tells of itself, and what it asks for."""

# pyright: reportPrivateUsage=false

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import pytest
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models import Model as TheirModel
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider

from sidetask.core.messages import user_message
from sidetask.models.base import ModelRequest, ToolSchema
from sidetask.models.pydantic_ai import PydanticAIModel, openai_compatible

ADD = ToolSchema(
    name="add",
    description="Add two numbers.",
    parameters={"type": "object", "properties": {"a": {"type": "integer"}}},
)


def claude(key: str = "k", base_url: str | None = None) -> PydanticAIModel:
    provider = AnthropicProvider(api_key=key, base_url=base_url)
    return PydanticAIModel(AnthropicModel("claude-sonnet-4-5", provider=provider))


class Asked:
    """A model that notes what it is asked."""

    def __init__(self) -> None:
        self.messages: list[ModelMessage] = []
        self.info: AgentInfo | None = None
        self.model = FunctionModel(stream_function=self.play)

    async def play(self, messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        self.messages, self.info = messages, info
        yield "ok"


async def ask(model: PydanticAIModel, **request: Any) -> None:
    asked = replace(ModelRequest(instructions="", messages=[user_message("hi")]), **request)
    async with asyncio.timeout(5), model.stream(asked) as reply:
        async for _ in reply:
            pass


async def test_instructions_tools_and_settings_are_handed_on() -> None:
    asked = Asked()
    model = PydanticAIModel(asked.model, settings={"temperature": 0.1, "top_p": 0.5})
    await ask(model, instructions="Be brief.", tools=(ADD,), settings={"temperature": 0.7})
    assert asked.info is not None
    assert asked.info.instructions == "Be brief."
    (tool,) = asked.info.function_tools
    assert (tool.name, tool.description) == ("add", "Add two numbers.")
    assert tool.parameters_json_schema == ADD.parameters
    settings = cast("dict[str, Any]", asked.info.model_settings)
    assert settings["temperature"] == 0.7
    assert settings["top_p"] == 0.5


async def test_a_vendors_client_is_told_not_to_retry_unless_the_user_says_so() -> None:
    asked = Asked()
    await ask(PydanticAIModel(asked.model))
    assert asked.info is not None
    assert (asked.info.model_settings or {}).get("max_retries") == 0
    await ask(PydanticAIModel(asked.model), settings={"max_retries": 3})
    assert (asked.info.model_settings or {}).get("max_retries") == 3


async def test_a_model_that_knows_no_retries_is_not_told_of_them() -> None:
    class Plain(FunctionModel):
        unsupported_settings = frozenset({"max_retries"})

    asked = Asked()
    await ask(PydanticAIModel(Plain(stream_function=asked.play)))
    assert asked.info is not None
    assert "max_retries" not in (asked.info.model_settings or {})


async def test_tools_are_described_once_for_as_long_as_they_stay_the_same() -> None:
    model, tools = PydanticAIModel(Asked().model), (ADD,)
    assert model._tools(tools) is model._tools(tools)


def test_a_quota_is_of_provider_address_and_key_and_tells_none_of_them() -> None:
    key = "sk-ant-very-secret"
    model = claude(key)
    assert model.quota_key == claude(key).quota_key
    others = {claude("other").quota_key, claude(key, "http://127.0.0.1:1").quota_key}
    others.add(openai_compatible("x", "https://api.anthropic.com", key).quota_key)
    assert len(others | {model.quota_key}) == 4
    assert key not in model.quota_key


def test_googles_key_counts_too() -> None:
    one, two = (
        PydanticAIModel(GoogleModel("gemini-2.5-flash", provider=GoogleProvider(api_key=key)))
        for key in ("a", "b")
    )
    assert one.quota_key != two.quota_key


def test_a_known_model_tells_its_window_and_price() -> None:
    model = claude()
    assert model.context_window == 200_000
    assert model.price is not None
    assert model.price.input == pytest.approx(3.0)  # US dollars, from Anthropic's price list
    assert model.price.output == pytest.approx(15.0)
    assert model.price.cached == pytest.approx(0.3)


def test_an_unknown_model_tells_neither() -> None:
    model = openai_compatible("my-own-finetune", "http://127.0.0.1:8080/v1")
    assert model.context_window is None
    assert model.price is None


def test_a_model_is_called_as_the_user_wrote_it() -> None:
    assert claude().name == "anthropic:claude-sonnet-4-5"
    assert openai_compatible("qwen3", "http://127.0.0.1:1/v1", name="mine").name == "mine"


def test_every_loop_gets_a_model_of_its_own() -> None:
    made: list[TheirModel[Any]] = []

    def make() -> TheirModel[Any]:
        made.append(Asked().model)
        return made[-1]

    model = PydanticAIModel(make)
    for _ in range(3):
        asyncio.run(ask(model))
    assert len(made) == 3


async def test_within_a_loop_the_model_stays_the_same() -> None:
    made: list[int] = []

    def make() -> TheirModel[Any]:
        made.append(1)
        return Asked().model

    model = PydanticAIModel(make)
    await ask(model)
    await ask(model)
    assert len(made) == 1


async def test_closing_closes_the_client_that_belongs_to_the_loop() -> None:
    model = openai_compatible("qwen3", "http://127.0.0.1:1/v1")
    await model.aclose()  # nothing was opened: nothing to do
    here = model._here()
    assert isinstance(here, OpenAIChatModel)
    await model.aclose()
    assert here.client.is_closed()
