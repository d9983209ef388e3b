"""Runs that are stopped or fail between a call and its answer: what is left is a history that
the wire takes."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from sidetask import Agent, Runtime, tool
from sidetask.core.errors import StepLimitError, TurnCancelledError
from sidetask.models.pydantic_ai import PydanticAIModel
from sidetask.runtime.invocation import EmitRequest
from tests.limits import HANG
from tests.wires.conftest import Script
from tests.wires.tap import Tap
from tests.wires.test_wires_conversation import call
from tests.wires.wires import Wire

pytestmark = pytest.mark.wires

CALLS = {
    "content": "Let me see.",
    "toolCalls": [call("1", "dig", site="a"), call("2", "dig", site="b")],
    "finishReason": "stop",
}
HERE = {"content": "Here I am."}


@pytest.fixture
async def model(wire: Wire, tap: Tap) -> AsyncGenerator[PydanticAIModel]:
    made = wire.model(tap.url)
    yield made
    await made.aclose()


@pytest.fixture
async def runtime() -> AsyncGenerator[Runtime]:
    async with asyncio.timeout(HANG), Runtime() as made:
        yield made


async def test_a_run_that_is_cancelled_while_its_tools_run_is_followed_by_one_that_works(
    wire: Wire, model: PydanticAIModel, runtime: Runtime, tap: Tap, script: Script
) -> None:
    begun = asyncio.Event()

    @tool
    async def dig(site: str) -> str:
        """Dig somewhere."""
        begun.set()
        await asyncio.Event().wait()
        return site

    script(CALLS, HERE)
    request = EmitRequest(agent=Agent(model, tools=[dig]), input="Dig.", conversation_id="c")
    run = runtime.emit(request)
    await begun.wait()
    run.cancel("enough")
    with pytest.raises(TurnCancelledError):
        await run
    assert str(await runtime.emit(request.with_input("Are you there?"))) == "Here I am."
    wire.check(tap.asked[1])
    assert "enough" in json.dumps(tap.asked[1])


async def test_a_tool_choice_is_in_the_words_of_the_wire_and_for_the_first_call_alone(
    model: PydanticAIModel, runtime: Runtime, tap: Tap, script: Script
) -> None:
    @tool
    async def dig(site: str) -> str:
        """Dig somewhere."""
        return f"{site} is deep"

    script(CALLS, HERE)
    request = EmitRequest(agent=Agent(model, tools=[dig]), input="Dig.", tool_choice="none")
    assert str(await runtime.emit(request)) == "Here I am."  # this model calls all the same
    first, second = [_tools_of(body) for body in tap.asked]
    assert first != second
    assert "dig" in json.dumps(second)
    assert "none" not in json.dumps(second).lower()


def _tools_of(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key.lower().startswith("tool")}


async def test_a_run_that_fails_after_its_tools_is_followed_by_one_that_works(
    wire: Wire, model: PydanticAIModel, runtime: Runtime, tap: Tap, script: Script
) -> None:
    @tool
    async def dig(site: str) -> str:
        """Dig somewhere."""
        raise RuntimeError(f"{site} caved in")

    script(CALLS, HERE)
    agent = Agent(model, tools=[dig], max_steps=1)
    request = EmitRequest(agent=agent, input="Dig.", conversation_id="c")
    with pytest.raises(StepLimitError):
        await runtime.emit(request)
    assert str(await runtime.emit(request.with_input("Are you there?"))) == "Here I am."
    wire.check(tap.asked[1])
    assert "a caved in" in json.dumps(tap.asked[1])
