"""Spans of turns and model calls: what they are part of, what they say, when they end."""

import asyncio

import pytest
from opentelemetry import trace as otel
from opentelemetry.trace import SpanKind, StatusCode
from pydantic_ai.models.instrumented import InstrumentationSettings, InstrumentedModel
from pydantic_ai.models.test import TestModel

from sidetask import Agent, Runtime
from sidetask.core.errors import (
    AgentNotStartedError,
    ModelError,
    RateLimitedError,
    TurnCancelledError,
)
from sidetask.core.usage import Usage
from sidetask.models.base import Finished
from sidetask.models.pydantic_ai import PydanticAIModel
from sidetask.runtime.invocation import EmitRequest
from sidetask.runtime.triggers import every
from sidetask.testing import ScriptedModel, VirtualClock, call, cut, reply, running_runtime, stall
from tests.observe.harness import Trace, ids, seconds, told, traced
from tests.runtime.harness import Held, beside, settle

TOKENS = Finished("stop", Usage(requests=1, input_tokens=70, cached_tokens=30, output_tokens=8))


async def test_a_turn_is_a_span_and_each_model_call_one_in_it(clock: VirtualClock) -> None:
    begun = clock.now()
    async with traced(reply("Hello.", TOKENS), name="guide") as (talk, trace):
        await talk.chat.ask("Hi.")
    assert trace.tree() == ["invoke_agent guide", "chat scripted < invoke_agent guide"]
    turn, chat = trace.one("invoke_agent guide"), trace.one("chat scripted")
    names = ("gen_ai.operation.name", "gen_ai.agent.name", "sidetask.run.cause")
    assert told(turn, *names) == ["invoke_agent", "guide", "user"]
    assert told(turn, "gen_ai.conversation.id", "sidetask.turn.id") == [
        talk.chat.conversation_id,
        "turn-1",
    ]
    assert told(turn, "sidetask.outcome", "sidetask.run.steps") == ["completed", 1]
    assert turn.status.status_code is StatusCode.UNSET
    assert turn.start_time is not None
    assert turn.start_time >= int(begun * 1e9)
    assert (turn.kind, chat.kind) == (SpanKind.INTERNAL, SpanKind.CLIENT)
    assert told(chat, "gen_ai.provider.name", "gen_ai.request.model") == ["sidetask", "scripted"]
    usage = ("input_tokens", "cache_read.input_tokens", "output_tokens")
    assert told(chat, *[f"gen_ai.usage.{name}" for name in usage]) == [70, 30, 8]
    assert told(chat, "gen_ai.response.finish_reasons") == [("stop",)]


async def test_a_span_lasts_as_long_as_the_runtime_s_clock_says() -> None:
    async def slow(_: object) -> str:
        await asyncio.sleep(40)
        return "Late."

    async with traced(slow) as (talk, trace):
        await talk.chat.ask("Hi.")
    assert seconds(trace.one("chat scripted")) == pytest.approx(40)
    assert seconds(trace.one("invoke_agent agent")) == pytest.approx(40)


async def test_a_turn_is_part_of_what_was_current_where_it_was_asked_for() -> None:
    held = Held()
    async with traced(call("held"), "One.", "Two.", tools=[held.tool]) as (talk, trace):
        with trace.tracer.start_as_current_span("request A"):
            first = await beside(talk.chat.ask("one"))
        with trace.tracer.start_as_current_span("request B"):  # it waits for its turn
            second = await beside(talk.chat.ask("two"))
        held.let_go.set()
        await first
        await second
    assert [line for line in trace.tree() if line.startswith("invoke_agent agent")] == [
        "invoke_agent agent < request A",
        "invoke_agent agent < request B",
    ]


async def test_a_turn_of_a_trigger_is_a_trace_of_its_own() -> None:
    trace = Trace()
    async with running_runtime(tracing=trace.tracing) as runtime:
        with trace.tracer.start_as_current_span("startup"):
            agent, often = Agent(ScriptedModel("Tick.", loop=True)), every(60, "Look around.")
            chat = await runtime.open(agent, triggers=[often])
        await asyncio.sleep(70)
        await chat.shutdown()
    assert [line for line in trace.tree() if line.startswith("invoke")] == ["invoke_agent agent"]
    trace.check()


async def test_a_run_that_a_host_emits_is_part_of_what_emitted_it() -> None:
    trace = Trace()
    async with Runtime(tracing=trace.tracing, clock=VirtualClock()) as runtime:
        agent = Agent(ScriptedModel("Hello."))
        with trace.tracer.start_as_current_span("request"):
            await runtime.emit(EmitRequest(agent=agent, input="Hi."))
    assert trace.tree()[1:] == [
        "invoke_agent agent < request",
        "chat scripted < invoke_agent agent < request",
    ]
    trace.check()


async def test_what_a_model_does_is_inside_its_span_and_what_follows_the_turn_is_not() -> None:
    inside: list[otel.Span] = []

    def look(_: object) -> str:
        inside.append(otel.get_current_span())
        return "Hello."

    async with traced(look, look) as (talk, trace):
        await talk.chat.ask("one")
        await talk.chat.ask("two")
        assert not otel.get_current_span().get_span_context().is_valid
    assert inside == trace.all("chat scripted")


async def test_a_turn_that_fails_is_an_error_and_says_no_more_than_its_type() -> None:
    async with traced(ModelError("a secret"), "Again.") as (talk, trace):
        with pytest.raises(ModelError):
            await talk.chat.ask("Hi.")
        await talk.chat.ask("Hi.")
    for name in ("invoke_agent agent", "chat scripted"):
        failed, worked = trace.all(name)
        assert failed.status.status_code is StatusCode.ERROR
        assert failed.status.description is None
        assert told(failed, "error.type") == ["ModelError"]
        assert worked.status.status_code is StatusCode.UNSET


async def test_a_turn_that_is_interrupted_is_cancelled_and_no_error() -> None:
    async with traced(stall("I am"), name="guide") as (talk, trace):
        asking = await beside(talk.chat.ask("Hi."))
        await talk.chat.interrupt()
        with pytest.raises(TurnCancelledError):
            await asking
    for name in ("invoke_agent guide", "chat scripted"):
        span = trace.one(name)
        assert told(span, "sidetask.outcome", "error.type") == ["cancelled", None]
        assert span.status.status_code is StatusCode.UNSET


async def test_a_reply_that_is_cut_off_fails_in_its_own_span() -> None:
    async with traced(call("held"), cut("I am"), tools=[Held().tool]) as (talk, trace):
        held = await beside(talk.chat.ask("Hi."))
        await talk.chat.cancel()
        with pytest.raises(TurnCancelledError):
            await held
        with pytest.raises(ModelError):
            await talk.chat.ask("Again.")
    first, second = trace.all("chat scripted")
    assert told(first, "sidetask.outcome") == ["completed"]
    assert told(second, "error.type") == ["IncompleteResponseError"]


async def test_a_run_that_never_began_is_told_at_one_moment() -> None:
    trace = Trace()
    async with running_runtime(tracing=trace.tracing) as runtime:
        run = runtime.emit(EmitRequest(agent="nobody", input="Hi."))
        with pytest.raises(LookupError):
            await run
    span = trace.one("invoke_agent")
    assert seconds(span) == 0
    assert told(span, "error.type", "sidetask.run.id") == ["UnknownAgentError", run.run_id]
    trace.check()


async def test_a_wait_at_the_gate_is_told_in_the_call_that_waits() -> None:
    refused = RateLimitedError("later", retry_after=30)
    async with traced(refused, "Hello.") as (talk, trace):
        await talk.chat.ask("Hi.")
    chat = trace.one("chat scripted")
    assert [event.name for event in chat.events] == ["rate limited", "rate limit over"]
    assert seconds(chat) >= 30
    [(attributes, hits)] = trace.metrics()["sidetask.model.rate_limited"]
    assert attributes["gen_ai.request.model"] == "scripted"
    assert hits == 1


async def test_a_runtime_that_is_closed_in_the_middle_leaves_no_span_open() -> None:
    trace = Trace()
    held = Held()
    runtime = Runtime(tracing=trace.tracing)
    chat = await runtime.open(Agent(ScriptedModel(call("held")), tools=[held.tool]))
    asking = await beside(chat.ask("Hi."))
    assert trace.open == ["invoke_agent agent", "execute_tool held"]
    await runtime.close()
    with pytest.raises((TurnCancelledError, AgentNotStartedError)):
        await asking
    trace.check()


async def test_a_handle_that_is_dropped_has_its_spans_ended() -> None:
    trace = Trace()
    async with running_runtime(tracing=trace.tracing) as runtime:
        chat = await runtime.open(Agent(ScriptedModel(call("held")), tools=[Held().tool]))
        response = await chat.chat("Hi.")
        await settle()
        assert trace.open == ["invoke_agent agent", "execute_tool held"]
        with pytest.warns(ResourceWarning):
            del chat
        await asyncio.sleep(10)
        assert trace.open == []
        assert response.status == "cancelled"
    trace.check()


async def test_what_a_store_refuses_to_keep_of_an_end_leaves_no_span_open() -> None:
    trace = Trace()
    observer = trace.tracing.observer()
    async with traced("One.", "Two.") as (talk, other):
        await talk.chat.ask("one")
        await talk.chat.ask("two")
        events = list(talk.events)
    observer.opened(talk.chat.conversation_id, None, None)
    for event in events:
        if event.kind != "run_completed":  # as if it had not been stored
            observer.hear(event)
    assert trace.open == ["invoke_agent"]
    observer.closed(talk.chat.conversation_id)
    trace.check()
    assert told(trace.all("invoke_agent")[0], "sidetask.outcome") == ["lost"]
    assert ids(trace.all("invoke_agent")[0]) != ids(other.all("invoke_agent agent")[0])


async def test_turns_and_tokens_are_counted() -> None:
    async with traced(reply("One.", TOKENS), ModelError("no"), name="guide") as (talk, trace):
        await talk.chat.ask("one")
        with pytest.raises(ModelError):
            await talk.chat.ask("two")
    metrics = trace.metrics()
    tokens = {
        point["gen_ai.token.type"]: sums for point, sums in metrics["gen_ai.client.token.usage"]
    }
    assert tokens == {"input": (1, 70), "output": (1, 8)}
    calls = metrics["gen_ai.client.operation.duration"]
    assert {point.get("error.type") for point, _ in calls} == {None, "ModelError"}
    runs = {
        point["sidetask.outcome"]: count for point, (count, _) in metrics["sidetask.run.duration"]
    }
    assert runs == {"completed": 1, "failed": 1}
    assert all(
        "gen_ai.conversation.id" not in point for row in metrics.values() for point, _ in row
    )


async def test_what_a_provider_s_library_traces_is_inside_the_model_call() -> None:
    trace = Trace()
    theirs = InstrumentedModel(
        TestModel(custom_output_text="Hello."),
        InstrumentationSettings(tracer_provider=trace.provider),
    )
    async with running_runtime(tracing=trace.tracing) as runtime:
        chat = await runtime.open(Agent(PydanticAIModel(theirs, name="test:test")))
        assert str(await chat.ask("Hi.")) == "Hello."
        await chat.shutdown()
    assert trace.tree() == [
        "invoke_agent agent",
        "chat test < invoke_agent agent",
        "chat test < chat test < invoke_agent agent",
    ]
    trace.check()
