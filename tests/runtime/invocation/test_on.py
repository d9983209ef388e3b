"""Events by handler: what reaches it, and in which shape."""

import asyncio
from typing import Any, cast

import pytest

from sidetask import Agent, Event, EventKind, RunContext, background, tool
from sidetask.core.events import (
    ChatFinished,
    ChatTextDelta,
    StateChanged,
    TextDelta,
    ToolExecutionFinished,
    ToolExecutionStarted,
)
from sidetask.runtime.invocation import (
    ConversationContext,
    EmitRequest,
    ListenerControl,
)
from sidetask.testing import ScriptedModel, VirtualClock, call, reply, stall
from tests.runtime.harness import Held, settle
from tests.runtime.invocation.harness import broken_tool, numbered, staged

# -- what reaches a handler -----------------------------------------------------------------


async def test_a_handler_takes_what_it_likes_of_event_context_and_control() -> None:
    seen: list[Any] = []

    async def one(event: Event) -> None:
        seen.append(event.kind)

    def two(event: Event, context: ConversationContext) -> None:
        seen.append((context.conversation_id, context.run_id))

    async def three(event: Event, context: ConversationContext, control: ListenerControl) -> None:
        seen.append(control.timeout)

    async with staged() as stage:
        listeners = [
            stage.runtime.on("run_completed", one),
            stage.runtime.on(EventKind.RUN_COMPLETED, two),
            stage.runtime.on(["run_completed", "run_failed"], three, timeout=7),
            stage.runtime.on("run_completed", seen.append),
        ]
        run = stage.emit("Hello.")
        await run
        for listener in listeners:
            await listener.drain()
        end = stage.of(run)[-1]
        assert seen == ["run_completed", (run.conversation_id, run.run_id), 7, end]


async def test_the_context_names_a_run_also_where_the_event_is_part_of_none() -> None:
    held = Held(route=background())
    found: list[tuple[Event, ConversationContext]] = []
    async with staged() as stage:
        listener = stage.runtime.on(
            "continue_requested", lambda event, context: found.append((event, context))
        )
        run = stage.emit(call("held"), "Begun.", "Done.", tools=[held.tool])
        await run
        held.let_go.set()
        await settle()
        await listener.drain()
        [(event, context)] = found
        assert context.conversation_id == run.conversation_id
        assert event.run_id in (None, context.run_id)
        assert context.run_id


async def test_two_listeners_are_given_the_same_event_with_the_same_envelope() -> None:
    first: list[Event] = []
    second: list[Event] = []
    async with staged() as stage:
        listeners = [stage.runtime.on("any", each.append) for each in (first, second)]
        await stage.emit(numbered(5))
        for listener in listeners:
            await listener.drain()
        assert [(e.id, e.seq) for e in first] == [(e.id, e.seq) for e in second]
        assert all(one is two for one, two in zip(first, second, strict=True))
        assert first == stage.events


async def test_a_listener_of_one_run_or_one_conversation_hears_no_other() -> None:
    by_run: list[Event] = []
    by_conversation: list[Event] = []
    async with staged() as stage:
        agents = {name: Agent(ScriptedModel(*["ok"] * 3)) for name in "ab"}
        runs = {
            name: stage.runtime.emit(EmitRequest(agent=agent, input="go", conversation_id=name))
            for name, agent in agents.items()
        }
        listeners = [
            stage.runtime.on("any", by_run.append, run=runs["a"].run_id),
            stage.runtime.on("any", by_conversation.append, conversation="b"),
        ]
        for run in runs.values():
            await run
        await stage.runtime.emit(EmitRequest(input="again", conversation_id="a"))
        await stage.runtime.emit(EmitRequest(input="again", conversation_id="b"))
        for listener in listeners:
            await listener.drain()
        assert by_run == stage.of(runs["a"])
        assert by_conversation == [e for e in stage.events if e.conversation_id == "b"]


async def test_the_listener_of_a_conversation_ends_with_it_and_has_heard_all() -> None:
    async with staged() as stage:
        heard: list[Event] = []
        async with stage.runtime.open(Agent(ScriptedModel("ok")), conversation_id="c") as chat:
            listener = stage.runtime.on("any", heard.append, conversation="c")
            await chat.ask("go")
        await settle()
        assert listener.is_finished
        assert heard == stage.events


async def test_the_end_of_the_runtime_is_heard_to_the_last_event() -> None:
    heard: list[str] = []

    async def slow(event: Event) -> None:
        await asyncio.sleep(0.1)
        heard.append(str(event.kind))

    async with staged() as stage:
        listener = stage.runtime.on("any", slow)
        stage.emit(stall("It is "))
        await settle()
        await stage.runtime.close()
        assert heard == [str(event.kind) for event in stage.events]
        assert heard[-1] == "run_cancelled"
        assert listener.is_finished


async def test_a_handler_that_never_ends_does_not_hold_up_the_end_of_the_runtime(
    clock: VirtualClock,
) -> None:
    never = asyncio.Event()

    async def hang(event: Event) -> None:
        await never.wait()

    async with staged() as stage:
        listener = stage.runtime.on("any", hang)
        await stage.emit("ok")
        before = clock.now()
        await stage.runtime.close()
        assert clock.now() - before <= 5.1
        assert listener.is_finished


# -- views --------------------------------------------------------------------------


async def test_views_are_told_to_those_who_ask_for_them_and_to_nobody_else() -> None:
    views: list[Event] = []
    everything: list[Event] = []
    kinds = [kind for kind in EventKind if kind.value.startswith(("chat_", "tool_execution_"))]
    async with staged() as stage:
        listeners = [
            stage.runtime.on(kinds, views.append),
            stage.runtime.on("any", everything.append),
        ]
        await stage.emit(reply("I see.", call("crash")), "Over.", tools=[broken_tool()])
        for listener in listeners:
            await listener.drain()
        assert [str(event.kind) for event in views] == [
            "chat_started",
            "chat_text_delta",
            "chat_tool_call_started",
            "chat_tool_call_arguments_delta",
            "chat_tool_call_completed",
            "chat_finished",
            "tool_execution_started",
            "tool_execution_finished",
            "chat_started",
            "chat_text_delta",
            "chat_finished",
        ]
        assert everything == stage.events
        assert not {event.kind for event in everything} & set(kinds)


async def test_a_view_has_the_envelope_of_its_event() -> None:
    found: list[Event] = []
    async with staged() as stage:
        listener = stage.runtime.on(["text_delta", "chat_text_delta"], found.append)
        await stage.emit("Hello.")
        await listener.drain()
        delta, shown = found
        assert isinstance(delta, TextDelta)
        assert isinstance(shown, ChatTextDelta)
        assert (shown.id, shown.at, shown.run_id, shown.text) == (
            delta.id,
            delta.at,
            delta.run_id,
            "Hello.",
        )


async def test_the_end_of_an_execution_tells_outcome_and_duration() -> None:
    found: list[Event] = []
    held = Held()
    async with staged() as stage:
        kinds = ["tool_execution_started", "tool_execution_finished", "chat_finished"]
        listener = stage.runtime.on(kinds, found.append)
        run = stage.emit([call("held"), call("crash")], "ok", tools=[held.tool, broken_tool()])
        await held.begun.wait()
        await asyncio.sleep(3)
        held.let_go.set()
        await run
        await listener.drain()
        begun = [event.name for event in found if isinstance(event, ToolExecutionStarted)]
        ends = {e.name: e for e in found if isinstance(e, ToolExecutionFinished)}
        assert sorted(begun) == ["crash", "held"]
        assert ends["held"].outcome == "succeeded"
        assert ends["held"].duration == pytest.approx(3, abs=0.01)
        assert ends["crash"].outcome == "failed"
        reasons = [event.finish_reason for event in found if isinstance(event, ChatFinished)]
        assert reasons == ["tool_calls", "stop"]


# -- changes of the state ----------------------------------------------------------------------


async def test_changes_of_a_state_are_told_while_somebody_reads() -> None:
    found: list[StateChanged] = []
    async with (
        staged() as stage,
        stage.runtime.open(Agent(ScriptedModel()), conversation_id="c") as chat,
    ):
        chat.state.set("before", 1)
        listener = stage.runtime.on("state_changed", cast(Any, found.append))
        chat.state.set("a", 1)
        chat.state.set("a", 2)
        chat.state.delete("a")
        await listener.drain()
        listener.control.cancel()
        await settle()
        chat.state.set("after", 1)
        assert [(e.key, e.version, e.created, e.deleted) for e in found] == [
            ("a", 1, True, False),
            ("a", 2, False, False),
            ("a", 3, False, True),
        ]
        assert {(e.conversation_id, e.source, e.task_id) for e in found} == {("c", "host", None)}


async def test_who_reads_one_conversation_hears_of_its_state_and_of_what_wrote_it() -> None:
    @tool
    async def note(ctx: RunContext[None]) -> str:
        """Note."""
        ctx.state.set("noted", True)
        return "ok"

    async with staged() as stage:
        agent = Agent(ScriptedModel(call("note"), "Done.", "Hi."), tools=[note])
        async with (
            stage.runtime.open(agent, conversation_id="c") as chat,
            stage.runtime.open(agent, conversation_id="d") as other,
        ):
            found: list[Event] = []
            listener = stage.runtime.on("state_changed", found.append, conversation="c")
            other.state.set("x", 1)
            response = await chat.chat("go")
            await response
            await listener.drain()
            [change] = found
            assert isinstance(change, StateChanged)
            assert (change.key, change.source, change.task_id) == ("noted", "tool", "task-1")
            assert "state_changed" not in [event.kind async for event in response]
