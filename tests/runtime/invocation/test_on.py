"""Events by handler: in order, within limits, and never at anybody's cost."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from sidetask import Agent, Event, EventKind, RunContext, Runtime, background, tool
from sidetask.core.errors import AgentNotStartedError, ConfigurationError, InvalidInputError
from sidetask.core.events import (
    ChatFinished,
    ChatTextDelta,
    ListenerFailed,
    StateChanged,
    TextDelta,
    ToolExecutionFinished,
    ToolExecutionStarted,
)
from sidetask.runtime.invocation import (
    ConversationContext,
    EmitRequest,
    ListenerControl,
    ListenerHandle,
)
from sidetask.tasks.aio.streams import BOUND
from sidetask.testing import ScriptedModel, VirtualClock, call, flood, reply, stall
from tests.runtime.harness import Held, settle
from tests.runtime.invocation.harness import Stage, broken_tool, staged


def numbered(count: int) -> Any:
    return reply(*[f"{n} " for n in range(count)])


def told(listener: ListenerHandle) -> Awaitable[None]:
    return listener.drain()


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
        await told(listener)
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
            await told(listener)
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
            await told(listener)
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
            await told(listener)
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
        await told(listener)
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
        await told(listener)
        begun = [event.name for event in found if isinstance(event, ToolExecutionStarted)]
        ends = {e.name: e for e in found if isinstance(e, ToolExecutionFinished)}
        assert sorted(begun) == ["crash", "held"]
        assert ends["held"].outcome == "succeeded"
        assert ends["held"].duration == pytest.approx(3, abs=0.01)
        assert ends["crash"].outcome == "failed"
        reasons = [event.finish_reason for event in found if isinstance(event, ChatFinished)]
        assert reasons == ["tool_calls", "stop"]


# -- order and limits --------------------------------------------------------------------------


async def test_a_sequential_listener_handles_in_order_however_long_each_takes() -> None:
    texts: list[str] = []
    chance = random.Random(7)

    async def slow(event: Event) -> None:
        await asyncio.sleep(chance.random())
        assert isinstance(event, TextDelta)
        texts.append(event.text)

    async with staged() as stage:
        listener = stage.runtime.on("text_delta", slow)
        await stage.emit(numbered(100))
        await told(listener)
        assert texts == [f"{n} " for n in range(100)]


class Crowd:
    """A handler that notes how many of it run at once."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self.done: list[str] = []
        self.chance = random.Random(3)

    async def __call__(self, event: Event) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.chance.random())
        self.now -= 1
        self.done.append(event.id)


async def test_a_concurrent_listener_keeps_its_limit_and_misses_nothing() -> None:
    crowd = Crowd()
    async with staged() as stage:
        listener = stage.runtime.on("text_delta", crowd, order="concurrent", concurrency_limit=2)
        await stage.emit(numbered(50))
        await told(listener)
        assert crowd.most == 2
        assert sorted(crowd.done) == sorted(e.id for e in stage.events if e.kind == "text_delta")


async def test_a_limit_can_be_raised_while_it_listens() -> None:
    crowd = Crowd()
    async with staged() as stage:
        listener = stage.runtime.on("text_delta", crowd, order="concurrent", concurrency_limit=1)
        await stage.emit(numbered(20))
        assert crowd.most == 1
        listener.control.concurrency_limit = 4
        await told(listener)
        assert (crowd.most, len(crowd.done)) == (4, 20)


BAD: list[tuple[Callable[[Runtime], Any], str]] = [
    (lambda runtime: runtime.on("any", print, concurrency_limit=0), "at least 1"),
    (lambda runtime: runtime.on("any", print, timeout=0), "timeout"),
    (lambda runtime: runtime.on("any", print, order=cast(Any, "shuffled")), "shuffled"),
    (lambda runtime: runtime.on("weather", print), "weather"),
    (lambda runtime: runtime.on([], print), "name a kind"),
    (lambda runtime: runtime.on("any", cast(Any, lambda: None)), "handler"),
    (lambda runtime: runtime.on("any", cast(Any, lambda a, b, c, d: None)), "handler"),
]


@pytest.mark.parametrize(("listen", "why"), BAD)
async def test_what_makes_no_sense_is_refused(listen: Callable[[Runtime], Any], why: str) -> None:
    async with staged() as stage:
        with pytest.raises(ConfigurationError, match=why):
            listen(stage.runtime)


async def test_a_limit_of_none_is_refused_while_it_listens_and_the_old_one_stands() -> None:
    async with staged() as stage:
        control = stage.runtime.on("any", print, concurrency_limit=3).control
        with pytest.raises(ConfigurationError, match="at least 1"):
            control.concurrency_limit = 0
        assert control.concurrency_limit == 3


async def test_a_closed_runtime_takes_no_listener() -> None:
    runtime = Runtime()
    await runtime.close()
    with pytest.raises(AgentNotStartedError):
        runtime.on("any", print)


# -- faults --------------------------------------------------------------------------


async def listening(stage: Stage) -> list[ListenerFailed]:
    found: list[ListenerFailed] = []
    stage.runtime.on("listener_failed", cast(Any, found.append))
    await settle()
    return found


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_handler_that_raises_is_reported_and_hears_the_next_event(
    is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    def fragile(event: Event) -> None:
        heard.append(str(event.kind))
        if event.kind == "model_started":
            raise LookupError("no such page")

    async def later(event: Event) -> None:
        fragile(event)

    async with staged() as stage:
        failures = await listening(stage)
        listener = stage.runtime.on(
            ["run_started", "model_started", "run_completed"], later if is_async else fragile
        )
        run = stage.emit("Hello.", conversation_id="c")
        await run
        await told(listener)
        await settle()
        assert heard == ["run_started", "model_started", "run_completed"]
        [failure] = failures
        started = next(event for event in stage.of(run) if event.kind == "model_started")
        assert failure.event_id == started.id
        assert (failure.error, failure.error_type) == ("no such page", "LookupError")
        assert (failure.run_id, failure.conversation_id) == (run.run_id, "c")
        assert "no such page" in caplog.text


async def test_listeners_that_fail_at_each_others_failures_do_not_feed_each_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(event: Event) -> None:
        raise LookupError("always")

    async with staged() as stage:
        for _ in range(2):
            stage.runtime.on("any", fail)
        run = stage.emit("Hello.", conversation_id="c")
        await run
        await settle()
        failures = [event for event in stage.events if event.kind == "listener_failed"]
        assert len(failures) == 2 * (len(stage.of(run)) - len(failures))


async def test_a_timeout_cancels_the_handler_that_is_late_and_no_other() -> None:
    done: list[str] = []

    async def slow(event: Event) -> None:
        await asyncio.sleep(10 if event.kind == "model_started" else 1)
        done.append(str(event.kind))

    async with staged() as stage:
        failures = await listening(stage)
        kinds = ["run_started", "model_started", "run_completed"]
        listener = stage.runtime.on(kinds, slow, timeout=5)
        patient = stage.runtime.on("model_started", slow)
        await stage.emit("Hello.", conversation_id="c")
        await told(listener)
        await told(patient)
        await settle()
        assert sorted(done) == ["model_started", "run_completed", "run_started"]
        [failure] = failures
        assert (failure.error, failure.error_type) == ("not done within 5 s", "TimeoutError")


async def test_a_handler_in_which_something_was_cancelled_has_failed_and_no_more() -> None:
    heard: list[str] = []

    async def odd(event: Event) -> None:
        heard.append(str(event.kind))
        raise asyncio.CancelledError

    async with staged() as stage:
        failures = await listening(stage)
        listener = stage.runtime.on(["run_started", "run_completed"], odd)
        await stage.emit("Hello.", conversation_id="c")
        await told(listener)
        await settle()
        assert heard == ["run_started", "run_completed"]
        assert [failure.error_type for failure in failures] == ["CancelledError"] * 2


# -- ends --------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["sequential", "concurrent"])
@pytest.mark.parametrize("how", ["cancel", "abort"])
async def test_an_idle_listener_ends_at_once(how: str, order: Any) -> None:
    async with staged() as stage:
        listener = stage.runtime.on("any", print, order=order)
        await settle()
        assert not listener.is_finished
        listener.control.cancel() if how == "cancel" else listener.abort()
        assert listener.is_finished
        await listener.drain()
        await stage.emit("Hello.")


async def test_a_cancelled_listener_finishes_what_it_handles_and_takes_no_more() -> None:
    done: list[str] = []

    async def slow(event: Event) -> None:
        await asyncio.sleep(1)
        done.append(str(event.kind))

    async with staged() as stage:
        listener = stage.runtime.on("any", slow)
        await stage.emit("Hello.")
        listener.control.cancel()
        assert not listener.is_finished
        await listener.drain()
        assert listener.is_finished
        assert done == ["run_started"]


@pytest.mark.parametrize("order", ["sequential", "concurrent"])
async def test_an_aborted_listener_cancels_what_it_handles(order: Any) -> None:
    ends: list[str] = []

    async def slow(event: Event) -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async with staged() as stage:
        listener = stage.runtime.on("run_started", slow, order=order)
        await stage.emit("Hello.")
        listener.abort()
        await listener.drain()
        assert listener.is_finished
        assert ends == ["cancelled"]
        assert "listener_failed" not in [event.kind for event in stage.events]


async def test_a_handler_may_cancel_its_own_listener() -> None:
    heard: list[Event] = []

    def once(event: Event, context: ConversationContext, control: ListenerControl) -> None:
        heard.append(event)
        control.cancel()

    async with staged() as stage:
        listener = stage.runtime.on("any", once)
        await stage.emit("Hello.")
        await listener.drain()
        assert listener.is_finished
        assert heard == stage.events[:1]


async def test_a_handler_cannot_drain_itself() -> None:
    found: list[Exception] = []
    async with staged() as stage:

        async def drain(event: Event) -> None:
            try:
                await listener.drain()
            except InvalidInputError as error:
                found.append(error)

        listener = stage.runtime.on("run_completed", drain)
        await stage.emit("Hello.")
        await listener.drain()
        assert len(found) == 1


async def test_drain_waits_for_what_was_told_before_and_not_for_what_comes() -> None:
    go = asyncio.Event()
    heard: list[str] = []

    async def slow(event: Event) -> None:
        await asyncio.sleep(1)
        heard.append(str(event.kind))

    async with staged() as stage:
        listener = stage.runtime.on(["run_started", "run_completed"], slow)
        run = stage.emit(reply(go, "Hello."))
        await settle()
        await listener.drain()
        assert heard == ["run_started"]
        go.set()
        await run
        await listener.drain()
        assert heard == ["run_started", "run_completed"]


async def test_a_slow_listener_is_told_how_much_it_missed_and_hears_each_end() -> None:
    heard: list[Event] = []
    begun = asyncio.Event()
    go = asyncio.Event()

    async def slow(event: Event) -> None:
        heard.append(event)
        begun.set()
        await go.wait()

    async with staged() as stage:
        listener = stage.runtime.on("any", slow)
        run = stage.emit(reply("First.", begun, flood(5 * BOUND)))
        await run
        go.set()
        await listener.drain()
        assert listener.control.missed > 2 * BOUND
        assert listener.control.missed + len(heard) == len(stage.events)
        assert heard[-1].kind == "run_completed"


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
        await told(listener)
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
    async def note(ctx: RunContext) -> str:
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
            await told(listener)
            [change] = found
            assert isinstance(change, StateChanged)
            assert (change.key, change.source, change.task_id) == ("noted", "tool", "task-1")
            assert "state_changed" not in [event.kind async for event in response]
