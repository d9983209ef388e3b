"""Agents that are invoked: where they run, on whose state, and who hears of them."""

import asyncio
from dataclasses import dataclass
from typing import Any, cast

import pytest

from sidetask import Agent, Event, Route, RunContext, Runtime, TaskStatus, background, tool
from sidetask.core.budget import Meter, ambient_meter
from sidetask.core.errors import (
    AgentNotStartedError,
    ConfigurationError,
    InvalidInputError,
    ManagerClosedError,
    ModelUnavailableError,
    ToolResultError,
    UnknownAgentError,
)
from sidetask.core.events import TaskStarted
from sidetask.core.jsons import Json
from sidetask.core.messages import NotificationMessage, ToolCall, UserMessage
from sidetask.core.usage import Price, Usage
from sidetask.models.base import Finished
from sidetask.orchestration import Invocable, as_agent, batch, call, invoke
from sidetask.state import State, StateView
from sidetask.tasks.parts.permits import Limits
from sidetask.testing import ScriptedModel, reply, running_runtime
from sidetask.testing import call as calls
from tests.runtime.harness import settle, talking


@tool
async def note(ctx: RunContext[None], key: str) -> str:
    """Write a value."""
    ctx.state.set(key, "noted")
    await asyncio.sleep(1)
    return "noted"


def writer(name: str = "writer") -> Agent:
    model = ScriptedModel(calls("note", key="by-tool"), "I wrote it.")
    return Agent(model, name=name, tools=[note])


def begun(runtime: Runtime) -> list[TaskStarted]:
    """The tasks of all conversations from now on, as they start."""
    found: list[TaskStarted] = []

    def hear(event: Event) -> None:
        if isinstance(event, TaskStarted):
            found.append(event)

    cast(Any, runtime)._outbox.everything.tap(hear)
    return found


async def give_back(input: Json) -> Json:
    return input


# -- an agent as a value -------------------------------------------------------------------


async def test_an_agent_is_invoked_with_its_input_and_gives_its_output() -> None:
    model = ScriptedModel("fine", "fine", "fine")
    agent = Agent(model, name="reviewer")
    assert isinstance(agent, Invocable)
    for given in ("a text", {"file": "ä.py"}, None):
        assert await agent.invoke(given, State()) == "fine"
    said = [request.messages[0] for request in model.requests]
    texts = [each.text for each in said if isinstance(each, UserMessage)]
    assert texts == ["a text", '{"file": "ä.py"}', "Begin."]
    for wrong in ("  ", {1, 2}):
        with pytest.raises(InvalidInputError):
            await agent.invoke(wrong, State())  # type: ignore[arg-type]


async def test_a_structured_output_is_given_as_json() -> None:
    @dataclass
    class Verdict:
        ok: bool
        notes: list[str]

    model = ScriptedModel(calls("final_output", ok=True, notes=["good"]))
    verdict = await Agent(model, output_type=Verdict).invoke("judge", State())
    assert verdict == {"ok": True, "notes": ["good"]}

    @dataclass
    class Odd:
        raw: bytes

    odd = Agent(ScriptedModel(calls("final_output", raw="x")), output_type=Odd)
    with pytest.raises(ToolResultError):
        await odd.invoke("judge", State())


async def test_an_invoked_agent_fails_with_its_own_error() -> None:
    state = State()
    with pytest.raises(ModelUnavailableError):
        await call("a", Agent(ScriptedModel(ModelUnavailableError("down"))), state)
    origin = state.provenance("a:error")
    assert origin is not None
    assert origin.error_type == "ModelUnavailableError"


async def test_its_tools_write_to_the_state_it_was_given_and_say_for_whom() -> None:
    state = State()
    state.set("turn:mine", "stays")
    assert await call("draft", writer(), state, input="write") == "I wrote it."
    assert state["turn:mine"] == "stays"  # its turns are not the owner's
    state.set("still", "open")
    told, result = state.provenance("by-tool"), state.provenance("draft:result")
    assert told is not None
    assert result is not None
    assert (told.source, told.resolver) == ("tool", "draft")
    assert told.run_id != result.run_id


# -- in a runtime ------------------------------------------------------------------------------


async def test_in_a_tool_an_agents_calls_are_tasks_of_the_same_runtime_below_that_tool() -> None:
    @tool
    async def delegate(ctx: RunContext[None]) -> str:
        """Let another agent do it."""
        return str(await call("draft", writer(), ctx.state, input="write"))

    async with talking(calls("delegate"), "done", tools=[delegate]) as talk:
        started = begun(talk.runtime)
        await talk.chat.ask("go")
        assert [each.name for each in started] == ["delegate", "draft", "note"]
        assert [each.task_id for each in started] == ["task-1", "task-2", "task-3"]
        assert [each.parent_id for each in started] == [None, "task-1", "task-2"]
        assert [task.name for task in talk.chat.tasks] == ["delegate", "draft"]
        assert talk.chat.state["by-tool"] == "noted"
        assert talk.chat.state["draft:result"] == "I wrote it."
        assert talk.runtime.live_agents == (talk.chat,)


async def test_a_runtime_that_runs_one_task_at_a_time_lets_agents_nest() -> None:
    @tool
    async def delegate(ctx: RunContext[None], depth: int) -> str:
        """Let another agent do it."""
        model = ScriptedModel(calls("delegate", depth=depth - 1), f"level {depth}")
        agent = Agent(model if depth else ScriptedModel("the bottom"), tools=[delegate])
        return str(await call(f"level-{depth}", agent, ctx.state))

    limits = Limits(total=1, conversation=1)
    script = (calls("delegate", depth=2), "done")
    async with talking(*script, tools=[delegate], runtime={"limits": limits}) as talk:
        await talk.chat.ask("go")
        assert talk.chat.state["level-0:result"] == "the bottom"
        assert talk.chat.state["level-2:result"] == "level 2"


async def test_what_an_agent_spends_its_batch_spends() -> None:
    used = Finished(usage=Usage(requests=1, input_tokens=1_000_000))
    model = ScriptedModel(reply("a", used), reply("b", used), price=Price(input=2, output=1))
    async with running_runtime() as runtime, batch(cap=1, tasks=runtime) as b:
        for _ in range(2):
            b.dispatch(Agent(model, name="dear"), input="think")
        assert [done.cost async for done in b.as_completed()] == [2.0, 2.0]
    assert (b.usage.usd, b.usage.requests) == (4.0, 2)


async def test_what_is_dispatched_with_a_conversations_state_is_its_task() -> None:
    async with talking("hello") as talk:
        async with talk.runtime.dispatcher(2) as agents:
            handle = agents.dispatch("draft", writer(), talk.chat.state, input="write")
            other = agents.dispatch("elsewhere", as_agent(give_back))
            assert [task.name for task in talk.chat.tasks] == ["draft"]
            await settle()
            assert handle.status is TaskStatus.RUNNING
            assert not talk.chat.is_idle
            await talk.chat.wait_for_idle()
            assert await handle == "I wrote it."
            await other
            names = [task.name for task in talk.runtime.tasks.list()]
            assert names == ["draft", "elsewhere"]
        assert talk.chat.state["draft:result"] == "I wrote it."
        assert talk.told() == []  # it is in the state, and nobody is told


async def test_whatever_is_invoked_on_a_conversations_state_is_listed_with_it() -> None:
    gate = asyncio.Event()

    async def wait(input: Json) -> None:
        await gate.wait()

    async with talking("hello") as talk:
        mine, elsewhere = talk.chat.state, State()
        calling = asyncio.ensure_future(call("a", as_agent(wait), mine, tasks=talk.runtime))
        await settle()
        await invoke("dispatch", "b", as_agent(wait), mine, tasks=talk.runtime)
        await invoke("dispatch", "c", as_agent(wait), elsewhere, tasks=talk.runtime)
        assert [task.name for task in talk.chat.tasks] == ["a", "b"]
        # In the background it is the conversation that is told, whatever the state.
        await invoke("background", "d", as_agent(wait), elsewhere, conversation=talk.chat)
        assert [task.name for task in talk.chat.tasks] == ["a", "b", "d"]
        assert elsewhere["d:status"] == "queued"
        gate.set()
        await calling
        await talk.runtime.tasks.wait_for_idle()
        assert elsewhere["d:status"] == "succeeded"


async def test_a_live_agent_that_is_shut_down_ends_what_was_dispatched_for_it() -> None:
    gate = asyncio.Event()

    async def wait(input: Json) -> None:
        await gate.wait()

    async with talking("hello") as talk:
        agents = talk.runtime.dispatcher(1, conversation=talk.chat)
        handle = agents.dispatch("a", as_agent(wait))
        assert agents.state["a:status"] == "queued"
        await settle()
        await talk.chat.shutdown()
        assert handle.status is TaskStatus.CANCELLED
        assert agents.active_count == 0
        await agents.close()


async def test_a_dispatcher_that_is_closed_leaves_nothing_in_its_runtime() -> None:
    async with running_runtime() as runtime:
        for _ in range(3):
            async with runtime.dispatcher(1) as agents:
                agents.dispatch("a", as_agent(give_back), input=1)
            assert runtime.tasks.list() == []
        assert list(runtime.invoker.manager.executors) == ["invoke_agent"]
        late = runtime.dispatcher(1)
    with pytest.raises(ManagerClosedError):
        late.dispatch("a", as_agent(give_back))


async def test_agents_are_found_by_the_names_they_are_registered_under() -> None:
    async with running_runtime(agents=[writer("author")]) as runtime:
        assert await call("a", "author", State(), input="go", tasks=runtime) == "I wrote it."
        with pytest.raises(UnknownAgentError, match="'nobody'; there are: author"):
            await call("a", "nobody", State(), tasks=runtime)


async def test_a_runtimes_limits_hold_for_its_dispatchers() -> None:
    async with running_runtime(limits=Limits(conversation=2)) as runtime:
        with pytest.raises(ConfigurationError, match="only 2 tasks"):
            runtime.dispatcher(3)


async def test_a_routing_policy_is_asked_of_calls_and_not_of_invocations() -> None:
    asked: list[ToolCall] = []

    def routing(call: ToolCall) -> Route:
        asked.append(call)
        return background()

    async with running_runtime(routing=routing) as runtime:
        async with runtime.dispatcher(1) as agents:
            assert await agents.dispatch("a", as_agent(give_back), input=1) == 1
        assert (await runtime.tasks.wait_for_idle()).undelivered == 0
    assert asked == []


# -- in the background of a conversation ---------------------------------------------------


async def test_in_the_background_the_model_hears_of_the_end() -> None:
    async with talking("I heard.", "And now?") as talk:
        handle = await invoke(
            "background",
            "count",
            as_agent(give_back),
            input={"words": 4},
            conversation=talk.chat,
            on_complete="continue",
        )
        await talk.chat.wait_for_idle()
        assert talk.told() == [f"{handle.id} succeeded"]
        heard = talk.history[0]
        assert isinstance(heard, NotificationMessage)
        assert (heard.items[0].name, heard.items[0].content) == ("count", '{"words":4}')
        assert talk.said() == ["I heard."]
        assert talk.chat.state["count:result"] == {"words": 4}
        told = talk.chat.state.provenance("count:result")
        assert told is not None
        assert (told.task_id, told.source) == (handle.id, "agent")


async def test_unless_it_is_said_a_background_run_waits_for_the_next_model_call() -> None:
    async with talking("I heard.") as talk:
        await invoke("background", "a", as_agent(give_back), input="x", conversation=talk.chat)
        await talk.chat.wait_for_idle()
        assert talk.chat.turn_count == 0
        await talk.chat.ask("Anything new?")
        assert talk.told() == ["task-1 succeeded"]


async def test_a_failed_background_run_is_told_as_that() -> None:
    async def fail(input: Json) -> None:
        raise ValueError("no luck")

    async with talking("A pity.") as talk:
        await invoke(
            "background", "a", as_agent(fail), conversation=talk.chat, on_complete="continue"
        )
        await talk.chat.wait_for_idle()
        assert talk.told() == ["task-1 failed"]
        assert "ValueError: no luck" in str(talk.history[0])


async def test_an_agent_that_is_shut_down_takes_no_background_runs() -> None:
    async with talking("hello") as talk:
        await talk.chat.shutdown()
        with pytest.raises(AgentNotStartedError):
            await invoke("background", "a", as_agent(give_back), conversation=talk.chat)


async def test_a_turn_that_a_run_has_asked_for_is_no_child_of_the_run() -> None:
    """The turn goes on when the run has ended, and its calls are its own."""

    async def ask_and_leave(input: Json, state: StateView) -> str:
        await talk.chat.send("work on")
        return "left"

    async with talking(calls("note", key="k"), "done", tools=[note]) as talk:
        await call("a", as_agent(ask_and_leave), talk.chat.state, tasks=talk.runtime)
        await talk.chat.wait_for_idle()
        by_name = {task.name: task for task in talk.chat.tasks}
        assert by_name["note"].parent_id is None
        assert by_name["note"].status is TaskStatus.SUCCEEDED


async def test_an_agents_own_meter_is_below_the_one_around_it() -> None:
    meter = Meter()
    token = ambient_meter.set(meter)
    try:
        await call("a", Agent(ScriptedModel("x")), State())
    finally:
        ambient_meter.reset(token)
    assert meter.steps == 1
