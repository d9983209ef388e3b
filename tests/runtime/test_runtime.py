"""The registry, dependencies, and conversations that never touch each other."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

import sidetask
from sidetask import Agent, RunContext, Runtime, background, tool
from sidetask.client import Client
from sidetask.core.errors import (
    AgentNotStartedError,
    AlreadyDecidedError,
    ApprovalNotFoundError,
    ConfigurationError,
    InvalidInputError,
    TaskNotFoundError,
    UnknownAgentError,
    UnknownModelError,
)
from sidetask.core.messages import ToolMessage
from sidetask.stores.memory import MemoryStore
from sidetask.testing import ScriptedModel, call, running_runtime, stall
from tests.runtime.harness import Held, beside, settle

# -- finding by name ---------------------------------------------------------------------------


async def test_agents_models_and_tools_are_found_by_name() -> None:
    held = Held()
    held.let_go.set()
    runtime: dict[str, Any] = {
        "agents": [Agent("mine", name="helper")],
        "models": {"mine": ScriptedModel(call("held"), "Hello.")},
        "tools": [held.tool],
    }
    async with running_runtime(**runtime) as used, used.open("helper") as chat:
        assert (await chat.ask("hi")).text == "Hello."
        assert held.runs == 1


async def test_a_function_given_to_the_runtime_is_a_tool_of_every_agent() -> None:
    def shout(text: str) -> str:
        """Shout."""
        return text.upper()

    agent = Agent(ScriptedModel(call("shout", text="hi"), "ok"))
    async with running_runtime(tools=[shout]) as used, used.open(agent) as chat:
        await chat.ask("go")
        assert "HI" in str(chat.history()[-2])


async def test_what_nobody_registered_is_refused_with_the_names_of_what_is_there() -> None:
    async with running_runtime(agents=[Agent("you", name="helper")]) as runtime:
        with pytest.raises(UnknownAgentError, match="'nobody'; there are: helper"):
            await runtime.open("nobody")
        with pytest.raises(UnknownModelError, match="'nothing'"):
            await runtime.open(Agent("nothing"))
        assert runtime.live_agents == ()


async def test_names_are_given_once() -> None:
    with pytest.raises(ConfigurationError, match="two agents are named 'a'"):
        Runtime(agents=[Agent("you", name="a"), Agent("you", name="a")])
    with pytest.raises(ConfigurationError, match="two tools named held"):
        Agent("you", tools=[Held().tool, Held().tool])
    async with running_runtime(tools=[Held().tool]) as runtime:
        with pytest.raises(ConfigurationError, match="two tools named held"):
            await runtime.open(Agent("you", tools=[Held().tool]))


def test_a_store_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="postgres"):
        Runtime(store="postgres:x")


@pytest.mark.parametrize("wrong", [7, Path("chats.db")])
def test_what_is_no_store_is_refused_with_what_a_url_looks_like(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="is no store: give a URL, 'memory:'"):
        Runtime(store=wrong)
    with pytest.raises(ConfigurationError, match="is no store: give a URL, 'memory:'"):
        Client(wrong)


def test_what_is_to_be_a_list_and_is_none_is_told() -> None:
    agent: Any = Agent("you")
    with pytest.raises(ConfigurationError, match="agents are given in a list"):
        Runtime(agents=agent)
    with pytest.raises(ConfigurationError, match="tools are given in a list"):
        Agent("you", tools=cast("Any", Held().tool))


@pytest.mark.parametrize("name", ["", 7])
def test_an_agent_without_a_word_for_a_name_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="name is a word"):
        Agent("you", name=name)


@pytest.mark.parametrize(
    "wrong", [{"max_steps": 0}, {"model_timeout": 0}, {"model_timeout": float("nan")}]
)
def test_an_agent_with_a_number_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Agent("you", **wrong)


# -- conversations -------------------------------------------------------------------------------


async def test_a_conversation_is_open_once_and_can_be_opened_again_when_it_is_not() -> None:
    agent = Agent(ScriptedModel("a", "b"))
    async with running_runtime() as runtime:
        async with runtime.open(agent, conversation_id="mine") as chat:
            assert chat.conversation_id == "mine"
            with pytest.raises(InvalidInputError, match="open already"):
                await runtime.open(agent, conversation_id="mine")
        async with runtime.open(agent, conversation_id="mine", user="ada") as chat:
            assert (chat.user, chat.turn_count, chat.history()) == ("ada", 0, ())
        with pytest.raises(InvalidInputError, match="1 to 1,000 letters"):
            await runtime.open(agent, conversation_id="")


async def test_made_ids_skip_those_that_callers_use() -> None:
    agent = Agent(ScriptedModel())
    async with (
        running_runtime() as runtime,
        runtime.open(agent, conversation_id="conversation-1"),
        runtime.open(agent) as two,
    ):
        assert two.conversation_id == "conversation-2"


async def test_nothing_opens_in_a_runtime_that_is_closed() -> None:
    agent = Agent(ScriptedModel())
    gate = asyncio.Event()

    async def slow() -> str:
        await gate.wait()
        return "deps"

    async with running_runtime() as runtime:
        opening = await beside(_opened(runtime, agent, slow))
        await runtime.close()
        gate.set()
        with pytest.raises(AgentNotStartedError):
            await opening
        with pytest.raises(AgentNotStartedError):
            await runtime.open(agent)


async def _opened(runtime: Runtime, agent: Agent, deps: object) -> object:
    return await runtime.open(agent, deps=deps)


async def test_an_opening_that_fails_or_is_cancelled_leaves_nothing_behind() -> None:
    async def hanging() -> None:
        await asyncio.sleep(1000)

    def failing() -> None:
        raise OSError("no database")

    async with running_runtime() as runtime:
        opening = await beside(_opened(runtime, Agent(ScriptedModel()), hanging))
        opening.cancel()
        await asyncio.wait([opening])
        with pytest.raises(OSError, match="no database"):
            await _opened(runtime, Agent(ScriptedModel()), failing)
        assert runtime.live_agents == ()


async def test_a_hundred_openings_at_once_do_not_wait_for_each_other() -> None:
    async def slow() -> str:
        await asyncio.sleep(1)
        return "deps"

    async with running_runtime(deps=slow) as runtime, asyncio.timeout(1.5):
        async with asyncio.TaskGroup() as group:
            opened = [
                group.create_task(_opened(runtime, Agent(ScriptedModel()), None))
                for _ in range(100)
            ]
        assert len({each.result() for each in opened}) == len(runtime.live_agents) == 100
        await runtime.close()


async def test_conversations_never_touch_each_other() -> None:
    held = Held(route=background(), approval="ask")
    async with running_runtime() as runtime:
        first, second = [
            Agent(ScriptedModel(call("held"), "ok", "Late."), tools=[held.tool]) for _ in range(2)
        ]
        async with runtime.open(first) as one, runtime.open(second) as two:
            await one.ask("go")
            await two.ask("go")
            await settle()
            [mine], [other] = list(one.approvals), list(two.approvals)
            assert [task.id for task in one.tasks] == ["task-1"]
            assert (len(one.approvals), len(two.approvals)) == (1, 1)
            for method in (one.tasks.cancel, one.tasks.wait):
                with pytest.raises(TaskNotFoundError):
                    await method("task-2")
            for look in (one.tasks.get, one.tasks.detach):
                with pytest.raises(TaskNotFoundError):
                    look("task-2")
            with pytest.raises(ApprovalNotFoundError, match=mine.id):
                one.approvals.approve(other.id, by="ada")
            with pytest.raises(ApprovalNotFoundError):
                one.approvals.deny(other.id, by="ada")
            one.state.set("key", "mine")
            assert "key" not in two.state
            await one.interrupt("all")
            assert [task.status for task in two.tasks] == ["awaiting_approval"]
            two.approvals.deny(other.id, by="ada")
            with pytest.raises(AlreadyDecidedError):
                two.approvals.approve(other.id, by="bob")
            await two.wait_for_idle()


async def test_a_shutdown_leaves_other_conversations_alone() -> None:
    held = Held(route=background())
    async with running_runtime() as runtime:
        one, two = [
            await runtime.open(Agent(ScriptedModel(call("held"), "ok", "Late."), tools=[held.tool]))
            for _ in range(2)
        ]
        await one.ask("go")
        await two.ask("go")
        await one.shutdown()
        held.let_go.set()
        await two.wait_for_idle()
        assert two.last_response is not None
        assert two.last_response.text == "Late."
        await two.shutdown()


async def test_a_store_that_was_given_keeps_its_conversations() -> None:
    store = MemoryStore()
    async with running_runtime(store=store) as runtime:
        async with runtime.open(Agent(ScriptedModel("Hello.")), conversation_id="mine") as chat:
            await chat.ask("hi")
        history = await store.history(chat.conversation_id)
        assert [type(message).__name__ for message in history] == [
            "UserMessage",
            "AssistantMessage",
        ]


# -- dependencies -------------------------------------------------------------------------------


@tool
async def show(ctx: RunContext[object]) -> str:
    """Show the dependencies."""
    return str(ctx.deps)


async def _shown(runtime: Runtime, deps: object = None) -> str:
    agent = Agent(ScriptedModel(call("show"), "ok"), tools=[show])
    async with runtime.open(agent, deps=deps) as chat:
        await chat.ask("go")
        message = chat.history()[-2]
        assert isinstance(message, ToolMessage)
        return message.results[0].content


async def test_dependencies_are_a_value_or_are_made_for_each_conversation() -> None:
    made: list[int] = []

    def factory(base: int = 0) -> int:
        made.append(base)
        return base + len(made)

    async def later() -> str:
        await asyncio.sleep(1)
        return "later"

    async with running_runtime(deps=factory) as runtime:
        assert [await _shown(runtime) for _ in range(2)] == ["1", "2"]
        assert await _shown(runtime, "own") == "own"
        assert await _shown(runtime, later) == "later"
        assert await _shown(runtime, partial(factory, 10)) == "13"
        assert await _shown(runtime, str) == "<class 'str'>"


async def test_an_object_that_happens_to_be_callable_is_a_value() -> None:
    class Client:
        def __call__(self) -> None:
            raise AssertionError

        def __str__(self) -> str:
            return "client"

    async with running_runtime(deps=Client()) as runtime:
        assert await _shown(runtime) == "client"


# -- agent.run ------------------------------------------------------------------------------------


@tool(detach_after=1)
async def crawl() -> str:
    """Crawl."""
    await asyncio.sleep(10)
    return "12 pages"


async def test_a_run_returns_after_late_results() -> None:
    agent = Agent(ScriptedModel(call("crawl"), "Begun.", "It has 12."), tools=[crawl])
    result = await agent.run("go")
    assert (str(result), result.output, result.turns) == ("It has 12.", "It has 12.", 2)
    assert (result.usage.requests, len(result.history)) == (3, 6)
    assert (result.idle.undelivered, result.idle.approvals) == (0, 0)


async def test_a_run_that_takes_too_long_is_cancelled_with_its_tasks() -> None:
    stopped: list[str] = []

    @tool(route=background())
    async def endless() -> None:
        """Work on."""
        try:
            await asyncio.sleep(1e6)
        finally:
            stopped.append("endless")

    agent = Agent(ScriptedModel(call("endless"), "Begun."), tools=[endless])
    with pytest.raises(TimeoutError):
        await agent.run("go", timeout=5)
    assert stopped == ["endless"]
    with pytest.raises(TimeoutError):
        await Agent(ScriptedModel(stall()), model_timeout=None).run("go", timeout=5)


async def test_a_run_raises_what_a_turn_failed_with_a_late_one_too() -> None:
    with pytest.raises(sidetask.SidetaskError, match="down"):
        await Agent(ScriptedModel(RuntimeError("down"))).run("go")
    agent = Agent(ScriptedModel(call("crawl"), "Begun.", RuntimeError("late")), tools=[crawl])
    with pytest.raises(sidetask.SidetaskError, match="late"):
        await agent.run("go")


async def test_a_run_has_the_last_structured_output() -> None:
    agent = Agent(
        ScriptedModel(call("crawl"), "1", "12"),
        tools=[crawl],
        output_type=int,
    )
    assert (await agent.run("go")).output == 12


async def test_a_run_takes_dependencies_and_the_settings_of_a_runtime() -> None:
    agent = Agent(ScriptedModel(call("show"), "ok"))
    result = await agent.run("go", deps="mine", tools=[show])
    assert "mine" in str(result.history[-2])


async def test_who_forgets_to_await_an_agent_is_told_so() -> None:
    async with running_runtime() as runtime:
        with pytest.raises(AttributeError, match="'ask' belongs to the live agent"):
            getattr(runtime.open(Agent("you")), "ask")  # noqa: B009 - as an untyped program would
