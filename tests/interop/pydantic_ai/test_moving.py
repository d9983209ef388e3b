"""Agents of Pydantic AI as live agents: what they are made of is kept, and calls are tasks."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from pydantic_ai import Agent, InstructionPart, ModelRetry, RunContext
from pydantic_ai.messages import ModelResponse, ToolCallPart, UserPromptPart
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import FunctionToolset

import sidetask
from sidetask import AgentHandle, Runtime
from sidetask.core.budget import Meter, ambient_meter
from sidetask.core.messages import ToolMessage, ToolResult, user_message
from sidetask.interop.pydantic_ai import move_in
from sidetask.models.base import ModelRequest
from tests.interop.pydantic_ai.played import Played, TheirTestModel, calls


@dataclass
class Shop:
    name: str = "Shop"


def results(chat: AgentHandle) -> list[ToolResult]:
    return [r for m in chat.history() if isinstance(m, ToolMessage) for r in m.results]


@asynccontextmanager
async def opened(agent: Agent[Any, Any], **options: Any) -> AsyncGenerator[AgentHandle]:
    async with asyncio.timeout(1_000), sidetask.open(agent, **options) as chat:
        yield chat


# -- what the model is told ------------------------------------------------------------------


async def test_instructions_are_resolved_anew_before_each_model_call_in_their_order() -> None:
    played = Played(calls("look"), "done", "again")
    agent = Agent(played.model, deps_type=Shop, instructions="Be kind.")

    @agent.instructions
    async def step(ctx: RunContext[Shop]) -> str:
        return f"{ctx.deps.name}, step {ctx.run_step}, asked {ctx.prompt}"

    @agent.tool_plain
    async def look() -> str:
        """Look."""
        return "seen"

    async with opened(agent, deps=Shop("Ana's")) as chat:
        await chat.ask("first")
        await chat.ask("second")
    assert [info.instructions for info in played.infos] == [
        "Be kind.\n\nAna's, step 1, asked first",
        "Be kind.\n\nAna's, step 2, asked first",
        "Be kind.\n\nAna's, step 1, asked second",
    ]


async def test_system_prompts_head_the_history_and_only_dynamic_ones_change() -> None:
    played = Played("one", "two")
    agent = Agent(played.model, system_prompt="Static.")
    made: list[str] = []

    @agent.system_prompt
    async def once() -> str:
        made.append("once")
        return f"once {len(made)}"

    @agent.system_prompt(dynamic=True)
    async def each(ctx: RunContext[object]) -> str:
        return f"for {ctx.prompt}"

    async with opened(agent) as chat:
        await chat.ask("first")
        await chat.ask("second")
    assert played.system(0) == ["Static.", "once 1", "for first"]
    assert played.system(1) == ["Static.", "once 1", "for second"]


async def test_model_settings_are_kept_also_where_a_function_makes_them() -> None:
    played = Played("one", "two")

    def settings(ctx: RunContext[Shop]) -> ModelSettings:
        return ModelSettings(temperature=0.5, stop_sequences=[ctx.deps.name])

    async with opened(
        Agent(played.model, deps_type=Shop, model_settings=settings), deps=Shop()
    ) as c:
        await c.ask("hi")
    async with opened(Agent(played.model, model_settings={"temperature": 0.1, "top_p": 0.3})) as c:
        await c.ask("hi")
    first, second = (info.model_settings or {} for info in played.infos)
    assert (first.get("temperature"), first.get("stop_sequences")) == (0.5, ["Shop"])
    assert (second.get("temperature"), second.get("top_p")) == (0.1, 0.3)


async def test_settings_of_one_run_come_before_the_agents_and_those_before_the_usual_ones() -> None:
    played = Played("ok")
    settings = ModelSettings(temperature=0.1, top_p=0.3, max_retries=5)
    moved = move_in(Agent(played.model, model_settings=settings))
    entered = await moved.enter(None)
    assert not isinstance(entered.config.model, str)
    request = ModelRequest(
        instructions="", messages=(user_message("hi"),), settings={"temperature": 0.9}
    )
    async with entered.config.model.stream(request) as chunks:
        async for _ in chunks:
            pass
    await entered.close()
    used = played.infos[0].model_settings or {}
    assert (used.get("temperature"), used.get("top_p")) == (0.9, 0.3)
    assert used.get("max_retries") == 5


async def test_a_tools_whole_definition_reaches_the_model() -> None:
    played = Played("ok")
    agent = Agent(played.model)

    @agent.tool_plain(strict=True, metadata={"group": "a"})
    async def add(a: int, b: int = 2) -> int:
        """Add.

        Args:
            a: The first.
            b: The second.
        """
        return a + b

    async with opened(agent) as chat:
        await chat.ask("hi")
    told = played.definitions(0)["add"]
    (toolset,) = agent.toolsets
    assert isinstance(toolset, FunctionToolset)
    # The model's own profile takes the schema of the result away, for it is not told.
    own = replace(toolset.tools["add"].tool_def, return_schema=None)
    assert replace(told, toolset_id=None) == own
    assert told.strict is True
    assert told.parameters_json_schema["properties"]["a"]["description"] == "The first."


async def test_prepare_shows_hides_and_changes_a_tool_in_each_step() -> None:
    played = Played(calls("unlock"), calls("vault"), "done")
    open_ = [False]

    async def prepared(ctx: RunContext[object], told: ToolDefinition) -> ToolDefinition | None:
        return replace(told, description=f"step {ctx.run_step}") if open_[0] else None

    agent = Agent(played.model)

    @agent.tool_plain
    async def unlock() -> None:
        """Unlock."""
        open_[0] = True

    @agent.tool_plain(prepare=prepared)
    async def vault() -> str:
        """Look."""
        return "gold"

    async with opened(agent) as chat:
        await chat.ask("hi")
    assert played.tools(0) == ["unlock"]
    assert sorted(played.tools(1)) == ["unlock", "vault"]
    assert played.definitions(1)["vault"].description == "step 2"
    assert played.answers(2)[-1] == "gold"


async def test_toolsets_are_entered_once_prefixed_tools_found_and_their_instructions_told() -> None:
    entered: list[str] = []

    class Counting(FunctionToolset[object]):
        async def __aenter__(self) -> "Counting":
            entered.append("in")
            return self

        async def __aexit__(self, *args: Any) -> None:
            entered.append("out")

        async def get_instructions(self, ctx: RunContext[object]) -> list[InstructionPart]:
            return [InstructionPart("Use it well.")]

    toolset = Counting()

    @toolset.tool_plain
    async def look() -> str:
        """Look."""
        return "seen"

    played = Played(calls("their_look"), "done")
    async with opened(Agent(played.model, toolsets=[toolset.prefixed("their")])) as chat:
        await chat.ask("hi")
        assert entered == ["in"]
    assert entered == ["in", "out"]
    assert played.tools(0) == ["their_look"]
    assert played.answers(1) == ["seen"]
    assert played.infos[0].instructions == "Use it well."


# -- what a tool gets ------------------------------------------------------------------------


async def test_a_tool_gets_a_real_run_context() -> None:
    played = Played(calls("look"), "done")
    agent = Agent(played.model, deps_type=Shop, validation_context={"v": 1})
    seen: list[RunContext[Shop]] = []

    @agent.tool(retries=4)
    async def look(ctx: RunContext[Shop]) -> str:
        """Look."""
        seen.append(ctx)
        return "seen"

    shop = Shop()
    async with opened(agent, deps=shop) as chat:
        await chat.ask("hi")
        (ctx,) = seen
        assert isinstance(ctx, RunContext)
        assert ctx.deps is shop
        assert (ctx.tool_call_id, ctx.tool_name) == ("c1.0", "look")
        assert (ctx.retry, ctx.max_retries, ctx.run_step) == (0, 4, 1)
        assert (ctx.conversation_id, ctx.run_id) == (chat.conversation_id, "run:turn-1")
        assert ctx.agent is agent
        assert ctx.usage.requests == 1
        assert ctx.prompt == "hi"
        assert ctx.validation_context == {"v": 1}
        request, response = ctx.messages
        assert isinstance(request.parts[0], UserPromptPart)
        assert isinstance(response, ModelResponse)
        assert isinstance(response.parts[0], ToolCallPart)


async def test_deps_may_be_made_for_each_conversation() -> None:
    agent = Agent(Played(calls("look"), "a", calls("look"), "b").model, deps_type=Shop)
    seen: list[Shop] = []

    @agent.tool
    async def look(ctx: RunContext[Shop]) -> None:
        """Look."""
        seen.append(ctx.deps)

    async def make() -> Shop:
        return Shop(f"number {len(seen)}")

    async with Runtime(deps=make) as runtime:
        for _ in range(2):
            async with runtime.open(agent) as chat:
                await chat.ask("hi")
    assert seen == [Shop("number 0"), Shop("number 1")]


async def test_arguments_are_validated_by_the_library_and_its_words_go_to_the_model() -> None:
    played = Played(calls("add", a="x"), calls("add", a=3), "done")
    agent = Agent(played.model)

    @agent.tool_plain
    async def add(a: int) -> int:
        """Add."""
        return a + 1

    async with opened(agent) as chat:
        await chat.ask("hi")
        assert [r.is_error for r in results(chat)] == [True, False]
    wrong, right = played.answers(2)
    assert "int_parsing" in wrong
    assert right == "4"


async def test_a_model_retry_is_read_by_the_model_and_the_tool_counts_its_tries() -> None:
    played = Played(calls("guess"), calls("guess"), "done")
    agent = Agent(played.model)
    tries: list[int] = []

    @agent.tool(retries=2)
    async def guess(ctx: RunContext[object]) -> str:
        """Guess."""
        tries.append(ctx.retry)
        if ctx.retry == 0:
            raise ModelRetry("Guess higher.")
        return "right"

    async with opened(agent) as chat:
        await chat.ask("hi")
        assert [r.is_error for r in results(chat)] == [True, False]
    assert tries == [0, 1]
    assert "Guess higher." in played.answers(1)[0]
    assert played.answers(2)[1] == "right"


async def test_a_tool_that_has_used_up_its_tries_is_told_and_the_turn_goes_on() -> None:
    played = Played(calls("guess"), calls("guess"), "I give up.", calls("guess"), "done")
    agent = Agent(played.model, retries=1)
    tries: list[int] = []

    @agent.tool
    async def guess(ctx: RunContext[object]) -> str:
        """Guess."""
        tries.append(ctx.retry)
        raise ModelRetry("Guess higher.")

    async with opened(agent) as chat:
        assert str(await chat.ask("hi")) == "I give up."
        await chat.ask("once more")
    last = played.answers(2)[-1]
    assert "Guess higher." in last
    assert "exceeded max retries count of 1" in last
    assert tries == [0, 1, 0]  # a turn is a run: it begins to count anew


async def test_a_tool_that_raises_is_an_answer_too() -> None:
    played = Played(calls("look"), "done")
    agent = Agent(played.model)

    @agent.tool_plain
    async def look() -> None:
        """Look."""
        raise LookupError("gone")

    async with opened(agent) as chat:
        await chat.ask("hi")
    assert played.answers(1) == ["LookupError: gone"]


async def test_a_tools_timeout_holds() -> None:
    played = Played(calls("wait"), "done")
    agent = Agent(played.model, tool_timeout=3)

    @agent.tool_plain
    async def wait() -> None:
        """Wait."""
        await asyncio.sleep(10)

    async with opened(agent) as chat:
        await chat.ask("hi")
    assert "Timed out after 3" in played.answers(1)[0]


async def test_runs_that_a_tool_starts_with_its_usage_are_charged_and_seen_by_later_calls() -> None:
    inner = Agent(TheirTestModel())
    agent = Agent(Played(calls("delegate"), calls("look"), "done").model)
    seen: list[tuple[int, int]] = []

    def note(ctx: RunContext[object]) -> None:
        meter = ambient_meter.get()
        assert meter is not None
        seen.append((ctx.usage.requests, meter.usage.requests))

    @agent.tool
    async def delegate(ctx: RunContext[object]) -> str:
        """Ask another."""
        note(ctx)
        return (await inner.run("sub", usage=ctx.usage)).output

    @agent.tool
    async def look(ctx: RunContext[object]) -> None:
        """Look."""
        note(ctx)

    token = ambient_meter.set(Meter())
    async with opened(agent) as chat:
        await chat.ask("hi")
    ambient_meter.reset(token)
    assert seen == [(1, 1), (3, 3)]  # a request of the agent's, then one of the other and its own
