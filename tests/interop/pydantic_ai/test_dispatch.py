"""Agents of Pydantic AI as values: run by their own loop, charged to whoever invoked them."""

import asyncio
from datetime import date
from decimal import Decimal

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, DeferredToolRequests, RunContext
from pydantic_ai.exceptions import UnexpectedModelBehavior
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage

from sidetask.core.budget import Budget, Meter, ambient_meter
from sidetask.core.errors import ConfigurationError
from sidetask.interop.pydantic_ai import from_pydantic_ai
from sidetask.orchestration import BackgroundAgentDispatcher, batch
from sidetask.orchestration.base import Invocable
from sidetask.state import provenance
from sidetask.state.state import State, StateView
from tests.interop.pydantic_ai.played import Played, TheirTestModel, calls


class Review(BaseModel):
    score: int
    day: date
    parts: list[str] = []


async def test_an_agent_is_a_value_that_turns_a_prompt_into_its_output() -> None:
    agent = from_pydantic_ai(Agent(TheirTestModel(custom_output_text="fine"), name="reviewer"))
    assert isinstance(agent, Invocable)
    assert agent.name == "reviewer"
    assert await agent.invoke("Review this.", State()) == "fine"


async def test_structured_output_becomes_json() -> None:
    model = TheirTestModel(custom_output_args={"score": 3, "day": "2026-01-02", "parts": ["a"]})
    agent = from_pydantic_ai(Agent(model, output_type=Review), name="reviewer")
    found = await agent.invoke("Review this.", State())
    assert found == {"score": 3, "day": "2026-01-02", "parts": ["a"]}


async def test_input_that_is_no_text_is_told_as_json_and_none_is_no_prompt() -> None:
    seen: list[object] = []
    inner = Agent(TheirTestModel(), name="a", instructions="Do it.")

    @inner.instructions
    async def prompt(ctx: RunContext[object]) -> str:
        seen.append(ctx.prompt)
        return ""

    agent = from_pydantic_ai(inner)
    await agent.invoke({"file": "a.py", "lines": [1, 2]}, State())
    await agent.invoke(None, State())
    assert seen == ['{"file": "a.py", "lines": [1, 2]}', None]


async def test_deps_are_given_or_made_of_the_state_for_each_run() -> None:
    inner = Agent(TheirTestModel(), deps_type=str, name="a")
    seen: list[str] = []

    @inner.tool
    async def look(ctx: RunContext[str]) -> str:
        """Look."""
        seen.append(ctx.deps)
        return ctx.deps

    async def made(state: StateView) -> str:
        return f"of {state['user']}"

    state = State()
    state.set("user", "ana")
    await from_pydantic_ai(inner, deps="plain").invoke("hi", state)
    await from_pydantic_ai(inner, deps=made).invoke("hi", state)
    assert seen == ["plain", "of ana"]


async def test_what_a_run_consumes_is_charged_to_the_ambient_meter() -> None:
    inner = Agent(TheirTestModel(), name="a")

    @inner.tool_plain
    async def look() -> str:
        """Look."""
        return "seen"

    meter = Meter()
    token = ambient_meter.set(meter)
    await from_pydantic_ai(inner).invoke("hi", State())
    ambient_meter.reset(token)
    assert (meter.steps, meter.tool_calls, meter.usage.requests) == (2, 1, 2)
    assert meter.usage.input_tokens > 0
    assert meter.usage.output_tokens > 0


async def test_the_price_that_a_provider_tells_is_charged() -> None:
    async def reply(*_: object) -> ModelResponse:
        usage = RequestUsage(input_tokens=10, cache_read_tokens=4, cost=Decimal("0.25"))
        return ModelResponse(parts=[TextPart("ok")], usage=usage)

    meter = Meter()
    token = ambient_meter.set(meter)
    await from_pydantic_ai(Agent(FunctionModel(reply)), name="a").invoke("hi", State())
    ambient_meter.reset(token)
    assert (meter.usage.usd, meter.usage.cached_tokens) == (0.25, 4)


async def test_a_run_that_fails_raises_its_own_error_and_is_charged_for_what_it_did() -> None:
    inner = Agent(TheirTestModel(), name="a")

    @inner.tool_plain
    async def look() -> str:
        """Look."""
        raise LookupError("gone")

    meter = Meter()
    token = ambient_meter.set(meter)
    with pytest.raises(LookupError, match="gone"):
        await from_pydantic_ai(inner).invoke("hi", State())
    ambient_meter.reset(token)
    assert meter.steps == 1


async def test_pydantic_ais_errors_are_left_as_they_are() -> None:
    played = Played(calls("nothing"), calls("nothing"))
    agent = from_pydantic_ai(Agent(FunctionModel(played.whole)), name="a")
    with pytest.raises(UnexpectedModelBehavior):
        await agent.invoke("hi", State())


async def test_cancelling_an_invocation_cancels_the_agent() -> None:
    inner = Agent(TheirTestModel(), name="a")
    begun, ended = asyncio.Event(), asyncio.Event()

    @inner.tool_plain
    async def wait() -> None:
        """Wait."""
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(from_pydantic_ai(inner).invoke("hi", State()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_an_agent_that_ends_with_open_approvals_says_what_to_do() -> None:
    inner = Agent(TheirTestModel(), output_type=[str, DeferredToolRequests], name="a")

    @inner.tool_plain(requires_approval=True)
    async def pay() -> None:
        """Pay."""

    with pytest.raises(ConfigurationError, match=r"pay.*sidetask\.open"):
        await from_pydantic_ai(inner).invoke("hi", State())


def test_an_agent_without_a_name_needs_one() -> None:
    with pytest.raises(ConfigurationError, match="name="):
        from_pydantic_ai(Agent(TheirTestModel()))


def slow_spender(begun: asyncio.Event | None = None) -> Agent[None, str]:
    """Looks for ten seconds, and says `seen`; costs a dollar for each request."""
    replies = {1: ToolCallPart("look", {}), 2: TextPart("seen")}

    async def reply(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        part = replies[len([m for m in messages if isinstance(m, ModelRequest)])]
        return ModelResponse(parts=[part], usage=RequestUsage(cost=Decimal(1)))

    agent = Agent(FunctionModel(reply), name="reviewer")

    @agent.tool_plain
    async def look() -> str:
        """Look."""
        if begun is not None:
            begun.set()
        await asyncio.sleep(10)
        return "nothing"

    return agent


async def test_a_batch_bounds_and_bills_their_runs() -> None:
    agent = from_pydantic_ai(slow_spender())
    async with batch(cap=2, budget=Budget(usd=3)) as b:
        for name in ("a", "b", "c", "d"):
            b.dispatch(agent, input=f"Review {name}.", name=name)
        items = {done.name: done async for done in b.as_completed()}
    assert {name: (str(item.status), item.cost) for name, item in items.items()} == {
        "a": ("succeeded", 2.0),
        "b": ("succeeded", 2.0),  # it ran when the three dollars were spent
        "c": ("cancelled", 0.0),
        "d": ("cancelled", 0.0),
    }
    assert (b.usage.usd, b.usage.requests) == (4.0, 4)
    assert b.state["a:result"] == "seen"
    told = provenance(b.state, "a:result")
    assert told is not None
    assert (told.source, told.resolver, told.task_id) == ("agent", "a", items["a"].task_id)


async def test_a_dispatched_run_is_stopped_and_billed_for_what_it_did() -> None:
    begun = asyncio.Event()
    meter = Meter()
    token = ambient_meter.set(meter)
    async with BackgroundAgentDispatcher(1) as agents:
        handle = agents.dispatch("review", from_pydantic_ai(slow_spender(begun)), input="Go.")
        waits = agents.dispatch("later", from_pydantic_ai(slow_spender()), input="Go.")
        await begun.wait()
        waits.cancel()
        handle.cancel()
        await handle.wait()
        assert agents.available_permits == 1
        assert agents.state.snapshot() == {
            "review:status": "cancelled",
            "later:status": "cancelled",
        }
    ambient_meter.reset(token)
    assert (meter.steps, meter.usage.usd) == (1, 1.0)


async def test_a_dispatched_runs_error_is_in_the_state_with_its_type() -> None:
    played = Played(calls("nothing"), calls("nothing"))
    agent = from_pydantic_ai(Agent(FunctionModel(played.whole)), name="a")
    async with BackgroundAgentDispatcher(1) as agents:
        await agents.dispatch("a", agent, input="hi").wait()
    told = provenance(agents.state, "a:error")
    assert told is not None
    assert (agents.state["a:status"], told.error_type) == ("failed", "UnexpectedModelBehavior")
