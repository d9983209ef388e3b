"""Opening agents of Pydantic AI: what is found, what is refused, and what is left behind."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import (
    Agent,
    BinaryImage,
    DeferredToolRequests,
    NativeOutput,
    PromptedOutput,
    RunContext,
    TextOutput,
    ToolOutput,
)
from pydantic_ai.agent import WrapperAgent
from pydantic_ai.capabilities import ProcessHistory, Thinking
from pydantic_ai.messages import ModelMessage, PartStartEvent
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import ExternalToolset, FunctionToolset

import sidetask
from sidetask import Runtime, background
from sidetask.core.errors import ConfigurationError
from sidetask.interop.pydantic_ai import MovingAgent, inside, move_in
from sidetask.runtime.foreign import MovableAgent
from tests.interop.pydantic_ai.played import Played, TheirTestModel, calls


class City(BaseModel):
    name: str


@dataclass
class Town:
    name: str


def agent(*replies: Any, **options: Any) -> Agent[Any, Any]:
    return Agent(Played(*(replies or ("ok",))).model, **options)


# -- output ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec", [City, ToolOutput(City), [City, Town], City | Town, [City, DeferredToolRequests]]
)
async def test_the_output_type_is_kept(spec: Any) -> None:
    wanted = calls("final_output", name="Bonn")
    if spec in ([City, Town], City | Town):
        wanted = calls("final_output", output={"name": "Bonn"})
    async with sidetask.open(agent(wanted, output_type=spec)) as chat:
        reply = await chat.ask("Which?")
    assert reply.output == City(name="Bonn")


async def test_output_that_does_not_fit_is_asked_for_again() -> None:
    replies = calls("final_output", nome="Bonn"), calls("final_output", name="Bonn")
    async with sidetask.open(agent(*replies, output_type=City)) as chat:
        assert (await chat.ask("Which?")).output == City(name="Bonn")


# -- what cannot be kept ---------------------------------------------------------------------


def function(text: str) -> City:
    return City(name=text)


async def compact(messages: list[ModelMessage]) -> list[ModelMessage]:
    return messages


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"output_type": function}, "output function function"),
        ({"output_type": [City, str]}, "text beside other output types"),
        ({"output_type": City | str}, "text beside other output types"),
        ({"output_type": NativeOutput(City)}, "NativeOutput"),
        ({"output_type": PromptedOutput(City)}, "PromptedOutput"),
        ({"output_type": TextOutput(function)}, "TextOutput"),
        ({"output_type": ToolOutput(City, name="city")}, "ToolOutput with a name"),
        ({"output_type": BinaryImage}, "an image"),
        ({"output_type": City, "validation_context": {"a": 1}}, "validation_context="),
        ({"capabilities": [ProcessHistory(compact)]}, "capability ProcessHistory"),
        ({"capabilities": [Thinking()]}, "capability Thinking"),
        ({"end_strategy": "early"}, "end_strategy='early'"),
        ({"max_concurrency": 3}, "max_concurrency="),
        ({"metadata": {"a": "b"}}, "metadata="),
        ({"toolsets": [ExternalToolset([ToolDefinition(name="x")])]}, "carried out elsewhere"),
        ({"toolsets": [lambda _: None]}, "per_run_step=False"),  # pyright: ignore
    ],
)
async def test_what_cannot_be_kept_is_refused_by_name(options: dict[str, Any], named: str) -> None:
    async with Runtime() as runtime:
        with pytest.raises(ConfigurationError) as refused:
            await runtime.open(agent(**options))
    assert named in str(refused.value)
    assert "from_pydantic_ai" in str(refused.value)


async def test_all_that_is_refused_is_named_at_once() -> None:
    moved = agent(end_strategy="early")

    @moved.output_validator
    async def validate(output: str) -> str:
        return output

    @moved.on_event(PartStartEvent)
    async def heard(ctx: RunContext[Any], event: PartStartEvent) -> None: ...

    with pytest.raises(ConfigurationError, match=r"early.*output_validator.*on_event"):
        await sidetask.open(moved)


async def test_a_model_that_cannot_stream_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="stream_function="):
        await sidetask.open(Agent(FunctionModel(Played().whole)))


async def test_an_agent_without_a_model_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no model"):
        await sidetask.open(Agent())


async def test_a_model_whose_key_is_missing_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY") as refused:
        await sidetask.open(Agent("openai:gpt-5.2", defer_model_check=True))
    assert "\n" not in str(refused.value)


async def test_a_tool_that_is_loaded_later_is_refused() -> None:
    moved = agent()

    @moved.tool_plain(defer_loading=True)
    async def look() -> None:
        """Look."""

    with pytest.raises(ConfigurationError, match="'look' has defer_loading"):
        await sidetask.open(moved)


async def test_a_tool_that_appears_after_the_opening_fails_the_turn_by_name() -> None:
    class Growing(FunctionToolset[Any]):
        asked = 0

        async def get_tools(self, ctx: RunContext[Any]) -> Any:
            self.asked += 1
            if self.asked == 2:
                self.add_function(look)
            return await super().get_tools(ctx)

    async def look() -> None:
        """Look."""

    async with sidetask.open(agent(toolsets=[Growing()])) as chat:
        with pytest.raises(ConfigurationError, match="without its tool look"):
            await chat.ask("hi")


@pytest.mark.parametrize("what", ["routes", "policies"])
async def test_routes_and_policies_name_tools_of_the_agent(what: str) -> None:
    named: dict[str, Any] = {what: {"lok": background()}}
    with pytest.raises(ConfigurationError, match=rf"{what}= names lok.*there are: none"):
        await sidetask.open(move_in(agent(), **named))


# -- how it is opened ------------------------------------------------------------------------


async def test_an_override_in_force_at_the_opening_holds() -> None:
    played = Played("overridden")
    moved = Agent(TheirTestModel(), instructions="Old.", model_settings={"temperature": 1})
    with moved.override(model=played.model, instructions="New.", model_settings={"temperature": 0}):
        async with sidetask.open(moved) as chat:
            assert str(await chat.ask("hi")) == "overridden"
    assert played.infos[0].instructions == "New."
    assert (played.infos[0].model_settings or {}).get("temperature") == 0


async def test_a_registered_agent_is_opened_by_its_name() -> None:
    async with Runtime(agents=[agent(name="clerk")]) as runtime, runtime.open("clerk") as chat:
        assert str(await chat.ask("hi")) == "ok"
        assert chat.config.name == "clerk"


def test_an_agent_without_a_name_cannot_be_registered() -> None:
    with pytest.raises(ConfigurationError, match="name="):
        Runtime(agents=[agent()])


async def test_a_plain_wrapper_is_looked_through_and_another_loop_refused() -> None:
    class Own(WrapperAgent[Any, Any]): ...

    async with sidetask.open(WrapperAgent(agent("inside"))) as chat:
        assert str(await chat.ask("hi")) == "inside"
    with pytest.raises(ConfigurationError, match="Own runs an agent in its own way"):
        await sidetask.open(Own(agent()))


async def test_a_thing_that_is_no_agent_is_refused() -> None:
    nothing: Any = object()
    with pytest.raises(ConfigurationError, match="object is no agent"):
        await sidetask.open(nothing)


def test_what_is_moved_says_itself_how_it_is_opened() -> None:
    assert isinstance(move_in(agent()), MovableAgent)
    assert isinstance(move_in(agent()), MovingAgent)


def test_the_synchronous_face_opens_it_too() -> None:
    with sidetask.open(agent("hello")) as chat:
        assert str(chat.ask("hi")) == "hello"


class Holding(FunctionToolset[Any]):
    """A toolset that notes in which asyncio task it was opened and closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: list[asyncio.Task[Any] | None] = []
        self.begun = asyncio.Event()
        self.slow = False
        self.fault: Exception | None = None

    async def __aenter__(self) -> "Holding":
        self.begun.set()
        if self.slow:
            await asyncio.Event().wait()
        if self.fault is not None:
            raise self.fault
        self.tasks.append(asyncio.current_task())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.tasks.append(asyncio.current_task())


async def test_toolsets_are_closed_in_the_asyncio_task_that_opened_them() -> None:
    held = Holding()
    chat = await sidetask.open(agent(toolsets=[held]))
    await asyncio.create_task(chat.shutdown())
    first, last = held.tasks
    assert first is last


async def test_an_opening_that_fails_leaves_no_toolset_open() -> None:
    held = Holding()
    async with Runtime() as runtime:
        async with runtime.open(agent(), conversation_id="c"):
            with pytest.raises(sidetask.SidetaskError, match="open already"):
                await runtime.open(agent(toolsets=[held]), conversation_id="c")
        with pytest.raises(ConfigurationError, match="routes="):
            await runtime.open(move_in(agent(toolsets=[held]), routes={"no": background()}))
    assert len(held.tasks) == 4


async def test_a_toolset_that_cannot_be_closed_fails_the_shutdown_once() -> None:
    class Stuck(FunctionToolset[Any]):
        async def __aexit__(self, *_: object) -> None:
            raise ConnectionError("gone")

    chat = await sidetask.open(agent(toolsets=[Stuck()]))
    with pytest.raises(ConnectionError, match="gone"):
        await chat.shutdown()
    await chat.shutdown()


async def test_a_toolset_that_cannot_be_opened_fails_the_opening() -> None:
    held = Holding()
    held.fault = ConnectionError("no server")
    with pytest.raises(ConnectionError, match="no server"):
        await sidetask.open(agent(toolsets=[held]))


async def test_an_opening_that_is_cancelled_leaves_nothing_running() -> None:
    held = Holding()
    held.slow = True
    before = asyncio.all_tasks()

    async def opening() -> None:
        await sidetask.open(agent(toolsets=[held]))

    task = asyncio.create_task(opening())
    await held.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == before


# -- private names ---------------------------------------------------------------------------


def test_the_private_names_that_are_used_are_there() -> None:
    """When this fails after an upgrade: `inside.py` is the one place to change."""
    plain = agent(instructions="Be kind.", model_settings={"temperature": 1}, retries=4)
    assert inside.model_of(plain) is plain.model
    assert inside.settings_of(plain) == {"temperature": 1}
    assert inside.deps_of(plain, 3) == 3
    assert inside.tool_retries_of(plain) == 4
    assert len(inside.recipes_of(plain)) == 1
    assert len(inside.capabilities_of(plain)) == len(plain.root_capability.capabilities)
    assert list(inside.unkept_by(plain)) == []
