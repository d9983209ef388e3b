"""What stands behind the history leaves what was sent before as it is, on every wire.

A provider's cache fits as long as the beginning of a request is that of the one before.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

import sidetask
from sidetask import Agent, tool
from sidetask.core.ids import CallId
from sidetask.core.messages import Message, ToolMessage, ToolResult, user_message
from sidetask.models.base import ModelRequest
from sidetask.models.pydantic_ai import PydanticAIModel
from sidetask.orchestration import Flow, Step, called
from tests.limits import HANG
from tests.wires.conftest import Script
from tests.wires.tap import Tap
from tests.wires.test_wires import ADD, CALLS, calls, kept
from tests.wires.wires import ANTHROPIC, CHAT, GEMINI, RESPONSES, Body, Wire

pytestmark = pytest.mark.wires

LISTS = {CHAT: "messages", RESPONSES: "input", ANTHROPIC: "messages", GEMINI: "contents"}
TAILS = ["Ask for the date.", "Now make an offer.", "Thank them.", "Still: thank them."]
MARKS = ("cache_control", "prompt_cache_breakpoint")


@pytest.fixture
async def model(wire: Wire, tap: Tap) -> AsyncGenerator[PydanticAIModel]:
    made = wire.model(tap.url)
    yield made
    await made.aclose()


async def ask(model: PydanticAIModel, history: list[Message], tail: str) -> list[Any]:
    request = ModelRequest(instructions="Be brief.", messages=history, tools=(ADD,), tail=tail)
    async with model.stream(request) as chunks:
        return [chunk async for chunk in chunks]


def bare(body: Body) -> Body:
    """A body without the marks of the cache, which move on with every request."""

    def unmarked(made: Body) -> Body:
        return {key: value for key, value in made.items() if key not in MARKS}

    return json.loads(json.dumps(body), object_hook=unmarked)


def without_tail(messages: list[Body], tail: str) -> list[Body]:
    """The messages, less their last block, which has to be the tail."""
    *before, last = messages
    inside = "parts" if "parts" in last else "content"
    blocks = last[inside]
    if isinstance(blocks, str):
        assert blocks == tail
        return before
    assert blocks[-1]["text"] == tail
    return [*before, {**last, inside: blocks[:-1]}] if blocks[:-1] else before


def begins_as_before(wire: Wire, asked: list[Body], tails: list[str]) -> None:
    """Each request begins, byte by byte, as the one before, whose last block was its tail."""
    for body in asked:
        wire.check(body)
    heads = [bare(body) for body in asked]
    lists: list[list[Body]] = [body.pop(LISTS[wire]) for body in heads]
    for number, tail in enumerate(tails[:-1]):
        sent = without_tail(lists[number], tail)
        following = lists[number + 1][: len(sent)]
        assert json.dumps(sent) == json.dumps(following)
        assert json.dumps(heads[number]) == json.dumps(heads[number + 1])
        assert tail == tails[number + 1] or tail not in json.dumps(lists[number + 1])


async def test_a_tail_leaves_every_byte_before_it_as_it_was(
    wire: Wire, model: PydanticAIModel, tap: Tap, script: Script
) -> None:
    thinking = {"reasoning": "Hm.", "reasoningSignature": "signed"}
    call = {**thinking, "toolCalls": CALLS, "finishReason": "stop"}
    script(call, {"content": "3 and 7."}, {"content": "You're welcome."}, {"content": "Bye."})
    history: list[Message] = [user_message("1 + 2, and 3 + 4?")]
    for tail in TAILS:
        heard = await ask(model, history, tail)
        history.append(kept(heard))
        answers = [ToolResult(CallId(i), "add", "3") for i in calls(heard)]
        history.append(ToolMessage(tuple(answers)) if answers else user_message("Thank you."))
    assert len(tap.asked) == len(TAILS)
    begins_as_before(wire, tap.asked, TAILS)


async def test_the_mark_of_the_cache_stands_before_the_tail(
    model: PydanticAIModel, tap: Tap, script: Script, wire: Wire
) -> None:
    if wire is not ANTHROPIC:
        pytest.skip("this wire has no marks")
    script({"content": "Hello."})
    await ask(model, [user_message("hi")], "Be kind.")
    first, tail = tap.asked[0]["messages"][0]["content"]
    assert first["text"] == "hi"
    assert first["cache_control"]["type"] == "ephemeral"
    assert "cache_control" not in tail


async def test_a_flow_changes_nothing_of_what_was_sent_in_any_step_or_turn(
    wire: Wire, model: PydanticAIModel, tap: Tap, script: Script
) -> None:
    ask, pay = (
        {"toolCalls": [{"name": name, "arguments": "{}"}], "finishReason": "stop"}
        for name in ("ask", "pay")
    )
    script(pay, ask, {"content": "Pay now?"}, {"content": "It rains."}, pay, {"content": "Done."})
    flow = Flow(
        "order",
        steps=[
            Step("ask", posture="Ask.", allow=["ask"], done=called("ask")),
            Step(
                "pay", after=["ask"], posture="Take the money.", allow=["pay"], done=called("pay")
            ),
            Step("end", after=["pay"], posture="Say goodbye."),
        ],
    )
    agent = Agent(
        model,
        instructions="Be brief.",
        tools=[tool(asked, name="ask"), tool(paid, name="pay")],
        flow=flow,
    )
    async with asyncio.timeout(HANG), sidetask.open(agent) as chat:
        for said in ("A lamp.", "How is the weather?", "Yes."):
            await chat.ask(said)
    tails = [last_text(bare(body)[LISTS[wire]]) for body in tap.asked]
    steps = [tail.split("`")[1] for tail in tails]
    assert steps == ["ask", "ask", "pay", "pay", "pay", "end"]
    begins_as_before(wire, tap.asked, tails)


def last_text(messages: list[Body]) -> str:
    blocks = messages[-1].get("parts") or messages[-1]["content"]
    return blocks if isinstance(blocks, str) else blocks[-1]["text"]


async def asked() -> str:
    """Ask what it shall be."""
    return "a lamp"


async def paid() -> str:
    """Take the money."""
    return "paid"
