"""Every run has exactly one end, whatever fails and whenever it is stopped."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sidetask import Agent
from sidetask.core.errors import (
    InvalidInputError,
    ModelError,
    ModelStalledError,
    StepLimitError,
    TurnCancelledError,
    UnknownAgentError,
    UnknownModelError,
)
from sidetask.core.events import Event, RunFailed, ToolMessageCommitted
from sidetask.core.ids import ConversationId
from sidetask.core.messages import Message
from sidetask.runtime.invocation import Control, ConversationContext, EmitRequest, RunHandle
from sidetask.stores.memory import MemoryStore
from sidetask.testing import ScriptedModel, call, cut, fails, reply, stall
from tests.runtime.harness import Held, assert_valid, settle
from tests.runtime.invocation.harness import Stage, broken_tool, staged, until_running

# -- ends that come by themselves ----------------------------------------------------------------


async def test_a_run_that_succeeds_is_completed_once() -> None:
    async with staged() as stage:
        run = stage.emit("Hello.")
        output = await run
        assert (output.text, output.steps, output.finish_reason) == ("Hello.", 1, "stop")
        assert stage.kinds(run) == [
            "run_started",
            "user_message_committed",
            "context_built",
            "model_started",
            "text_delta",
            "assistant_message_committed",
            "usage_recorded",
            "run_completed",
        ]


FAULTS: list[tuple[Any, type[Exception]]] = [
    (fails(), ModelError),
    (fails("It is "), ModelError),
    (cut("It is "), ModelError),
    (ModelError("no"), ModelError),
]


@pytest.mark.parametrize(("script", "error"), FAULTS)
async def test_a_model_that_fails_fails_the_run_once(script: Any, error: type[Exception]) -> None:
    async with staged() as stage:
        run = stage.emit(script)
        with pytest.raises(error):
            await run
        assert (stage.end(run), run.status) == ("run_failed", "failed")


async def test_a_model_that_falls_silent_fails_the_run_once() -> None:
    async with staged() as stage:
        run = stage.emit(stall("It is "), model_timeout=3)
        with pytest.raises(ModelStalledError):
            await run
        assert stage.end(run) == "run_failed"


async def test_the_step_limit_fails_the_run_once() -> None:
    async with staged() as stage:
        run = stage.emit(call("crash"), call("crash"), tools=[broken_tool()], max_steps=1)
        with pytest.raises(StepLimitError):
            await run
        assert stage.end(run) == "run_failed"


async def test_a_tool_that_crashes_is_an_answer_and_the_run_completes() -> None:
    async with staged() as stage:
        run = stage.emit(call("crash"), "It broke.", tools=[broken_tool()])
        assert str(await run) == "It broke."
        assert stage.end(run) == "run_completed"


class Refusing(MemoryStore):
    """Refuses messages, or events of one kind."""

    def __init__(self, kind: str = "") -> None:
        super().__init__()
        self.kind = kind

    def append(self, fact: Event) -> None:
        if fact.kind == self.kind:
            raise OSError("the disk is full")
        super().append(fact)

    async def commit_turn(self, conversation_id: ConversationId, messages: Any, **how: Any) -> None:
        if not self.kind:
            raise OSError("the disk is full")
        await super().commit_turn(conversation_id, messages, **how)


async def test_a_store_that_refuses_messages_fails_the_run_once() -> None:
    async with staged(store=Refusing()) as stage:
        run = stage.emit("Hello.")
        with pytest.raises(OSError, match="disk is full"):
            await run
        assert stage.end(run) == "run_failed"


async def test_a_store_that_refuses_a_fact_fails_the_run_once_and_does_not_publish_it() -> None:
    async with staged(store=Refusing("model_started")) as stage:
        run = stage.emit("Hello.")
        with pytest.raises(OSError, match="disk is full"):
            await run
        assert stage.end(run) == "run_failed"
        assert "model_started" not in stage.kinds(run)


async def test_an_end_that_the_store_refuses_is_not_published_and_hangs_nobody() -> None:
    async with staged(store=Refusing("run_failed")) as stage:
        run = stage.runtime.emit(EmitRequest(model="nobody", input="go"))
        with pytest.raises(UnknownModelError):
            await run
        assert stage.of(run) == []


# -- runs that cannot begin ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (EmitRequest(model="nobody", input="go"), UnknownModelError),
        (EmitRequest(provider="nobody", model="x", input="go"), UnknownModelError),
        (EmitRequest(agent="nobody", input="go"), UnknownAgentError),
        (EmitRequest(model="nobody", input="go", conversation_id="c"), UnknownModelError),
    ],
)
async def test_who_does_not_exist_fails_the_run_before_it_has_started(
    request_: EmitRequest, error: type[Exception]
) -> None:
    async with staged() as stage:
        run = stage.runtime.emit(request_)
        with pytest.raises(error):
            await run
        assert stage.kinds(run) == ["run_failed"]
        events = aiter(run)
        assert isinstance(await anext(events), RunFailed)
        with pytest.raises(error):
            await anext(events)
        assert stage.runtime.live_agents == ()


async def test_a_builder_that_fails_is_the_end_of_its_run() -> None:
    async def build(context: ConversationContext, control: Control) -> EmitRequest:
        raise LookupError("no such customer")

    async with staged() as stage:
        run = stage.runtime.emit(build)
        with pytest.raises(LookupError, match="no such customer"):
            await run
        assert stage.kinds(run) == ["run_failed"]


async def test_a_builder_that_asks_for_nothing_is_the_end_of_its_run() -> None:
    async def build(context: ConversationContext, control: Control) -> EmitRequest:
        return EmitRequest(agent=Agent(ScriptedModel("never")), input="  ")

    async with staged() as stage:
        run = stage.runtime.emit(build)
        with pytest.raises(InvalidInputError):
            await run
        assert stage.kinds(run) == ["run_failed"]


# -- a cancel in each phase ----------------------------------------------------------------------


async def cancelled(stage: Stage, run: RunHandle) -> None:
    assert run.cancel("enough")
    with pytest.raises(TurnCancelledError, match="enough"):
        await run
    assert (stage.end(run), run.status) == ("run_cancelled", "cancelled")
    assert not run.cancel()


async def test_a_cancel_at_once_starts_nothing() -> None:
    async with staged() as stage:
        model = ScriptedModel("never")
        run = stage.runtime.emit(EmitRequest(agent=Agent(model), input="go"))
        await cancelled(stage, run)
        assert (model.calls, stage.kinds(run)) == (0, ["run_cancelled"])


async def test_a_cancel_while_the_builder_works_calls_no_model() -> None:
    never = asyncio.Event()

    async def build(context: ConversationContext, control: Control) -> EmitRequest:
        await never.wait()
        raise AssertionError

    async with staged() as stage:
        run = stage.runtime.emit(build)
        await settle()
        await cancelled(stage, run)
        assert stage.kinds(run) == ["run_cancelled"]


@pytest.mark.parametrize("awaits", [True, False])
async def test_a_cancel_inside_the_builder_calls_no_model(awaits: bool) -> None:
    model = ScriptedModel("never")

    async def build(context: ConversationContext, control: Control) -> EmitRequest:
        control.cancel("the customer left")
        if awaits:
            await asyncio.sleep(0)
        return EmitRequest(agent=Agent(model), input="go")

    async with staged() as stage:
        run = stage.runtime.emit(build)
        with pytest.raises(TurnCancelledError, match="the customer left"):
            await run
        assert (model.calls, stage.kinds(run)) == (0, ["run_cancelled"])


async def test_a_cancel_while_its_conversation_is_opened_leaves_none() -> None:
    never = asyncio.Event()

    async def deps() -> object:
        await never.wait()

    async with staged(deps=deps) as stage:
        run = stage.emit("never")
        await settle()
        await cancelled(stage, run)
        assert stage.kinds(run) == ["run_cancelled"]


async def test_a_cancel_while_it_waits_for_its_turn_leaves_the_others_alone() -> None:
    go = asyncio.Event()
    async with staged() as stage:
        agent = Agent(ScriptedModel(reply(go, "One."), "Three."))
        first, second, third = (
            stage.runtime.emit(EmitRequest(agent=agent, input=word, conversation_id="c"))
            for word in ("one", "two", "three")
        )
        await until_running(first)
        await cancelled(stage, second)
        go.set()
        assert (str(await first), str(await third)) == ("One.", "Three.")
        assert stage.kinds(second) == ["run_cancelled"]


async def test_a_cancel_before_the_model_answers_ends_a_blocked_model_at_once(
    clock: Any,
) -> None:
    async with staged() as stage:
        run = stage.emit(stall(), "Again.", conversation_id="c", model_timeout=None)
        await until_running(run)
        before = clock.now()
        await cancelled(stage, run)
        assert clock.now() - before < 0.001
        again = stage.runtime.emit(EmitRequest(input="again", conversation_id="c"))
        assert str(await again) == "Again."


async def test_a_cancel_in_mid_stream_keeps_what_came() -> None:
    async with staged() as stage:
        run = stage.emit(stall("It is "), conversation_id="c")
        async for _ in run.text_stream():
            break
        await cancelled(stage, run)
        assert "assistant_message_committed" in stage.kinds(run)


async def test_a_cancel_while_tools_run_answers_their_calls_and_the_next_turn_works() -> None:
    held = Held()
    async with staged() as stage:
        run = stage.emit(call("held"), "Again.", tools=[held.tool], conversation_id="c")
        await held.begun.wait()
        await cancelled(stage, run)
        assert any(isinstance(event, ToolMessageCommitted) for event in stage.of(run))
        again = stage.runtime.emit(EmitRequest(input="again", conversation_id="c"))
        assert str(await again) == "Again."
        assert_valid(stage.runtime.live_agents[0].history())


class Slow(MemoryStore):
    """Takes its time for the messages of one role."""

    def __init__(self, slow: str) -> None:
        super().__init__()
        self.slow = slow
        self.begun = asyncio.Event()
        self.let_go = asyncio.Event()

    async def commit_turn(self, conversation_id: ConversationId, messages: Any, **how: Any) -> None:
        messages_: list[Message] = list(messages)
        if any(type(message).__name__ == self.slow for message in messages_):
            self.begun.set()
            await self.let_go.wait()
        await super().commit_turn(conversation_id, messages, **how)


@pytest.mark.parametrize("slow", ["UserMessage", "AssistantMessage", "ToolMessage"])
async def test_a_cancel_while_a_message_is_stored_ends_the_run_once_and_validly(slow: str) -> None:
    store = Slow(slow)
    async with staged(store=store) as stage:
        run = stage.emit(
            call("crash"), "Over.", "Again.", tools=[broken_tool()], conversation_id="c"
        )
        await store.begun.wait()
        run.cancel("enough")
        store.let_go.set()
        with pytest.raises(TurnCancelledError):
            await run
        assert stage.end(run) == "run_cancelled"
        assert_valid(stage.runtime.live_agents[0].history())


# -- ends from outside ---------------------------------------------------------------------------


PHASES: list[Callable[[Stage], RunHandle]] = [
    lambda stage: stage.emit(stall()),
    lambda stage: stage.emit(stall("It is ")),
    lambda stage: stage.emit(stall(), conversation_id="c"),
    lambda stage: stage.emit(call("held"), tools=[Held().tool]),
]


@pytest.mark.parametrize("begin", PHASES)
async def test_closing_the_runtime_ends_a_run_once(begin: Callable[[Stage], RunHandle]) -> None:
    async with staged() as stage:
        run = begin(stage)
        await until_running(run)
        await stage.runtime.close()
        assert (stage.end(run), run.status) == ("run_cancelled", "cancelled")


async def test_closing_the_runtime_ends_runs_that_have_not_begun() -> None:
    never = asyncio.Event()

    async def deps() -> object:
        await never.wait()

    async def build(context: ConversationContext, control: Control) -> EmitRequest:
        await never.wait()
        raise AssertionError

    async with staged(deps=deps) as stage:
        runs = [
            stage.emit("never"),
            stage.emit("never", conversation_id="c"),
            stage.runtime.emit(build),
        ]
        await settle()
        runs.append(stage.emit("never"))
        await stage.runtime.close()
        assert [stage.kinds(run) for run in runs] == [["run_cancelled"]] * 4


async def test_a_run_in_the_queue_of_a_conversation_that_ends_is_cancelled_once() -> None:
    async with staged() as stage:
        first = stage.emit(stall(), conversation_id="c")
        await until_running(first)
        second = stage.runtime.emit(EmitRequest(input="two", conversation_id="c"))
        await stage.runtime.live_agents[0].shutdown()
        assert (stage.end(first), stage.kinds(second)) == ("run_cancelled", ["run_cancelled"])


async def test_whoever_gives_up_waiting_leaves_the_run_alone() -> None:
    go = asyncio.Event()
    async with staged() as stage:
        run = stage.emit(reply(go, "Hello."))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await run
        go.set()
        assert str(await run) == "Hello."
