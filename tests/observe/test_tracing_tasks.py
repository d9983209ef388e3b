"""Spans of tasks: what they are part of and linked with, and that they end with the work."""

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest
from opentelemetry import trace as otel

from sidetask import Agent, RunContext, TaskPolicy, background, tool
from sidetask.observe.tracing.tasks import KEPT
from sidetask.orchestration import as_agent
from sidetask.orchestration import call as invoke_now
from sidetask.state.state import StateView
from sidetask.testing import ScriptedModel, call, reply, running_runtime
from tests.observe.harness import Trace, ids, seconds, told, traced
from tests.runtime.harness import Held, beside, settle


async def test_tool_calls_are_spans_in_their_turn_also_several_at_once() -> None:
    @tool
    async def dig(site: str) -> str:
        """Dig."""
        await asyncio.sleep(len(site))
        return site

    step = reply(call("dig", site="aa"), call("dig", site="bbbb"))
    async with traced(step, "Done.", tools=[dig]) as (talk, trace):
        await talk.chat.ask("Dig.")
    assert trace.tree() == [
        "invoke_agent agent",
        "chat scripted < invoke_agent agent",
        "execute_tool dig < invoke_agent agent",
        "execute_tool dig < invoke_agent agent",
        "chat scripted < invoke_agent agent",
    ]
    short, long = trace.all("execute_tool dig")
    assert (seconds(short), seconds(long)) == pytest.approx((2, 4))
    assert told(short, "gen_ai.tool.name", "gen_ai.tool.call.id") == ["dig", "call-1"]
    assert told(short, "sidetask.task.id", "sidetask.outcome") == ["task-1", "succeeded"]


@pytest.mark.parametrize("threaded", [False, True])
async def test_what_a_tool_s_body_begins_is_inside_the_tool_s_span(threaded: bool) -> None:
    def begin() -> str:
        with otel.get_tracer("user", tracer_provider=trace.provider).start_as_current_span("mine"):
            return "dug"

    @tool
    async def dig() -> str:
        """Dig."""
        return begin()

    @tool(name="dig")
    def dig_in_a_thread() -> str:
        """Dig."""
        return begin()

    tools = [dig_in_a_thread if threaded else dig]
    async with traced(call("dig"), "Done.", tools=tools) as (talk, trace):
        await talk.chat.ask("Dig.")
    assert trace.tree()[3] == "mine < execute_tool dig < invoke_agent agent"


async def test_children_are_inside_what_started_them() -> None:
    @tool
    async def scoop() -> str:
        """Scoop."""
        return "earth"

    @tool
    async def dig(ctx: RunContext[object]) -> str:
        """Dig."""
        with trace.tracer.start_as_current_span("mine"):
            return str(await ctx.spawn("scoop"))

    async with traced(call("dig"), "Done.", tools=[dig, scoop]) as (talk, trace):
        await talk.chat.ask("Dig.")
    assert "execute_tool scoop < mine < execute_tool dig < invoke_agent agent" in trace.tree()
    [parent] = told(trace.one("execute_tool scoop"), "sidetask.task.parent_id")
    assert parent == "task-1"


async def test_a_detached_call_ends_with_its_work_and_its_wake_up_links_to_it() -> None:
    @tool(detach_after=5)
    async def dig() -> str:
        """Dig."""
        await asyncio.sleep(60)
        with trace.tracer.start_as_current_span("mine"):
            return "deep"

    script = call("dig"), "Digging.", "Two.", "Three.", "Deep!"
    async with traced(*script, tools=[dig], name="guide") as (talk, trace):
        await talk.chat.ask("one")
        await talk.chat.ask("two")
        await talk.chat.ask("three")
        assert trace.open == ["execute_tool dig"]
        async for turn in talk.chat.turns(until="idle"):
            await turn
    work = trace.one("execute_tool dig")
    assert seconds(work) == pytest.approx(60)
    assert told(work, "sidetask.task.detached", "sidetask.outcome") == [True, "succeeded"]
    assert [event.name for event in work.events] == ["started", "detached"]
    assert trace.tree()[-3:] == [
        "mine < execute_tool dig < invoke_agent guide",
        "invoke_agent guide",
        "chat scripted < invoke_agent guide",
    ]
    woken = trace.all("invoke_agent guide")[-1]
    assert told(woken, "sidetask.run.cause") == ["tasks"]
    assert trace.links(woken) == ["cause: execute_tool dig"]
    assert ids(woken)[0] != ids(work)[0]


async def test_a_background_call_is_a_trace_of_its_own_linked_both_ways() -> None:
    held = Held(route=background())
    async with traced(call("held"), "Begun.", "Done!", tools=[held.tool]) as (talk, trace):
        await talk.chat.ask("Hold.")
        assert trace.open == ["execute_tool held"]
        held.let_go.set()
        async for turn in talk.chat.turns(until="idle"):
            await turn
    first, woken = trace.all("invoke_agent agent")
    work = trace.one("execute_tool held")
    assert work.parent is None
    assert trace.links(work) == ["launcher: invoke_agent agent"]
    assert trace.links(first) == ["launched: execute_tool held"]
    assert trace.links(woken) == ["cause: execute_tool held"]
    assert woken.parent is None


async def test_a_turn_links_to_the_results_that_it_takes_on_its_way() -> None:
    held = Held(route=background(), policy=TaskPolicy(on_complete="notify"))
    async with traced(call("held"), "Begun.", "I see.", tools=[held.tool]) as (talk, trace):
        await talk.chat.ask("Hold.")
        held.let_go.set()
        await settle()
        await talk.chat.ask("And?")
    assert trace.links(trace.all("invoke_agent agent")[1]) == ["result: execute_tool held"]


async def test_how_a_task_ends_is_the_outcome_and_only_faults_are_errors() -> None:
    @tool
    async def fail() -> str:
        """Fail."""
        raise KeyError("a secret")

    @tool(policy=TaskPolicy(timeout=3))
    async def stick() -> str:
        """Stick."""
        await asyncio.Event().wait()
        return ""

    @tool(approval="ask")
    async def ask() -> str:
        """Ask."""
        return ""

    held = Held()
    step = reply(call("fail"), call("stick"), call("ask"), call("held"))
    async with traced(step, "Well.", tools=[fail, stick, ask, held.tool]) as (talk, trace):
        asking = await beside(talk.chat.ask("Go."))
        [approval] = talk.chat.approvals
        talk.chat.approvals.deny(approval.id, by="me")
        await talk.chat.tasks.cancel("task-4", "enough")
        await asking
    found = {name: trace.one(f"execute_tool {name}") for name in ("fail", "stick", "ask", "held")}
    outcomes = {name: told(span, "sidetask.outcome", "error.type") for name, span in found.items()}
    assert outcomes == {
        "fail": ["failed", "KeyError"],
        "stick": ["timed_out", "timeout"],
        "ask": ["denied", None],
        "held": ["cancelled", None],
    }
    codes = {name: span.status.status_code.name for name, span in found.items()}
    assert codes == {"fail": "ERROR", "stick": "ERROR", "ask": "UNSET", "held": "UNSET"}
    assert "a secret" not in repr([span.to_json() for span in found.values()])


async def test_work_that_does_not_stop_is_told_as_abandoned() -> None:
    let_go = asyncio.Event()

    @tool(policy=TaskPolicy(timeout=1, grace=1))
    async def stick() -> str:
        """Stick."""
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue
        return ""

    async with traced(call("stick"), "Well.", tools=[stick]) as (talk, trace):
        await talk.chat.ask("Go.")
        span = trace.one("execute_tool stick")
        assert told(span, "sidetask.task.abandoned") == [True]
        assert seconds(span) == pytest.approx(2)
        let_go.set()
        await settle()


@pytest.mark.parametrize("in_body", [False, True])
async def test_an_approval_is_told_in_the_span_that_waits_for_it(in_body: bool) -> None:
    def begin() -> str:
        with trace.tracer.start_as_current_span("mine"):
            return "dug"

    @tool(name="dig", approval="ask")
    async def dig_if_approved() -> str:
        """Dig."""
        return begin()

    @tool
    async def dig(ctx: RunContext[object]) -> str:
        """Dig."""
        await ctx.request_approval("It is deep.")
        return begin()

    tools = [dig if in_body else dig_if_approved]
    async with traced(call("dig"), "Done.", tools=tools) as (talk, trace):
        asking = await beside(talk.chat.ask("Dig."))
        [approval] = talk.chat.approvals
        with trace.tracer.start_as_current_span("the approver's"):
            talk.chat.approvals.approve(approval.id, by="me")
            assert otel.get_current_span() is trace.one("the approver's")
        await asking
    span = trace.one("execute_tool dig")
    names = [event.name for event in span.events]
    assert names == [
        "started",
        "approval requested",
        "approval decided",
        "queued",
        "started",
    ]
    assert "mine < execute_tool dig < invoke_agent agent" in trace.tree()


async def test_a_sub_agent_is_inside_the_task_that_waits_for_it_also_when_it_wakes_by_itself() -> (
    None
):
    @tool(route=background())
    async def dig() -> str:
        """Dig."""
        await asyncio.sleep(5)
        return "deep"

    helper = Agent(
        ScriptedModel(call("dig"), "Digging.", "It is deep."), tools=[dig], name="helper"
    )

    @tool
    async def delegate(ctx: RunContext[object]) -> str:
        """Delegate."""
        return str(await invoke_now("depth", helper, ctx.state))

    async with traced(call("delegate"), "Deep!", tools=[delegate], name="lead") as (talk, trace):
        await talk.chat.ask("How deep?")
    of_helper = "invoke_agent helper < task depth < execute_tool delegate < invoke_agent lead"
    assert [line for line in trace.tree() if line.startswith("invoke_agent helper")] == [
        of_helper,
        of_helper,
    ]
    first, woken = trace.all("invoke_agent helper")
    assert trace.links(first) == ["launched: execute_tool dig"]
    assert trace.links(woken) == ["cause: execute_tool dig"]


async def test_a_dispatched_run_is_a_trace_of_its_own_linked_with_who_dispatched_it() -> None:
    async def look(_: object, state: StateView) -> str:
        await asyncio.sleep(3)
        return "seen"

    trace = Trace()
    async with (
        running_runtime(tracing=trace.tracing) as runtime,
        runtime.dispatcher(1) as dispatcher,
    ):
        with trace.tracer.start_as_current_span("request"):
            dispatcher.dispatch("a", as_agent(look, name="look"))
            dispatcher.dispatch("b", as_agent(look, name="look"))
    first, second = trace.one("dispatch a"), trace.one("dispatch b")
    assert (first.parent, second.parent) == (None, None)
    assert trace.links(first) == ["launcher: request"]
    assert trace.links(trace.one("request")) == ["launched: dispatch a", "launched: dispatch b"]
    assert (seconds(first), seconds(second)) == pytest.approx((3, 6))
    assert told(second, "sidetask.task.queue_wait") == pytest.approx([3])
    trace.check()


async def test_tasks_alive_and_their_waits_and_durations_are_measured() -> None:
    held = Held()
    async with traced(call("held"), "Done.", tools=[held.tool]) as (talk, trace):
        asking = await beside(talk.chat.ask("Hold."))
        of_tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "held"}
        assert trace.metrics()["sidetask.tasks.alive"] == [(of_tool, 1)]
        await asyncio.sleep(7)
        held.let_go.set()
        await asking
    metrics = trace.metrics()
    assert metrics["sidetask.tasks.alive"] == [(of_tool, 0)]
    assert metrics["sidetask.task.queue_wait"] == [(of_tool, (1, 0))]
    [(attributes, (count, total))] = metrics["sidetask.task.duration"]
    assert attributes == {**of_tool, "sidetask.outcome": "succeeded"}
    assert (count, total) == (1, pytest.approx(7, abs=0.01))


async def test_many_conversations_at_once_are_kept_apart() -> None:
    @tool(detach_after=1)
    async def dig(site: str) -> str:
        """Dig."""
        await asyncio.sleep(0.5 + int(site) % 3)
        with trace.tracer.start_as_current_span(f"mine {site}"):
            return site

    trace = Trace()
    async with running_runtime(tracing=trace.tracing) as runtime:

        async def talk(number: int) -> None:
            model = ScriptedModel(call("dig", site=str(number)), "So.", "Done.")
            agent = Agent(model, tools=[dig], name=f"a{number}")
            with trace.tracer.start_as_current_span(f"request {number}"):
                async with runtime.open(agent) as chat:
                    await chat.ask("Dig.")
                    await chat.wait_for_idle()

        async with asyncio.TaskGroup() as group:
            for number in range(12):
                group.create_task(talk(number))
    tree = trace.tree()
    for number in range(12):
        line = f"mine {number} < execute_tool dig < invoke_agent a{number} < request {number}"
        assert line in tree
        turns = trace.all(f"invoke_agent a{number}")
        assert len(turns) == (1 if number % 3 == 0 else 2)
        assert [trace.links(turn) for turn in turns[1:]] == [["cause: execute_tool dig"]] * (
            len(turns) - 1
        )
    trace.check()


async def test_ended_tasks_are_remembered_for_links_up_to_a_bound() -> None:
    trace = Trace()
    observer = trace.tracing.observer()
    held = Held(route=background())
    async with traced(call("held"), "Begun.", "Done.", tools=[held.tool]) as (talk, _):
        await talk.chat.ask("Hold.")
        held.let_go.set()
        async for turn in talk.chat.turns(until="idle"):
            await turn
        queued = next(event for event in talk.events if event.kind == "task_queued")
        ended = next(event for event in talk.events if event.kind == "task_succeeded")
    for number in range(KEPT + 5):
        for event in (queued, ended):
            observer.hear(replace(event, task_id=f"task-{number}"))  # pyright: ignore
    tasks = cast("Any", observer)._tasks
    assert len(tasks._ended) == KEPT
    assert tasks.find("task-0") is None
    assert tasks.find(f"task-{KEPT}") is not None


async def test_an_sdk_that_raises_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    trace = Trace()

    def broken(*_: object, **__: object) -> None:
        raise OSError("disk full")

    trace.provider.get_tracer = lambda *a, **k: type("T", (), {"start_span": broken})()  # type: ignore
    async with running_runtime(tracing=trace.tracing) as runtime:
        chat = await runtime.open(Agent(ScriptedModel("Hello.")))
        assert str(await chat.ask("Hi.")) == "Hello."
        await chat.shutdown()
    assert "disk full" in caplog.text


async def test_nothing_said_is_in_a_trace_unless_it_is_asked_for() -> None:
    @tool
    async def dig(site: str) -> str:
        """Dig."""
        return f"secret of {site}"

    async def run(*, content: bool) -> tuple[Trace, str]:
        async with traced(
            call("dig", site="secret-1"), "secret-2", tools=[dig], content=content
        ) as (talk, trace):
            await talk.chat.ask("secret-3")
        spans = [trace.one("execute_tool dig"), *trace.all("chat scripted")]
        return trace, repr([span.to_json() for span in [*spans, trace.one("invoke_agent agent")]])

    _, quiet = await run(content=False)
    assert "secret" not in quiet
    trace, _ = await run(content=True)
    assert told(trace.one("execute_tool dig"), "gen_ai.tool.call.arguments") == [
        '{"site": "secret-1"}'
    ]
    first, second = trace.all("chat scripted")
    assert "secret-3" in told(first, "gen_ai.input.messages")[0]
    assert "tool_call" in told(first, "gen_ai.output.messages")[0]
    assert "secret of secret-1" in told(second, "gen_ai.input.messages")[0]
    assert "secret-3" not in told(second, "gen_ai.input.messages")[0]
    assert "secret-2" in told(second, "gen_ai.output.messages")[0]
