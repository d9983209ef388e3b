"""Whole conversations on every wire: what the loop makes of them must be a history it takes."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

import sidetask
from sidetask import Agent, AgentHandle, tool
from sidetask.core.errors import IncompleteResponseError, ModelStalledError, TurnCancelledError
from sidetask.core.messages import AssistantMessage, NotificationMessage
from sidetask.models.pydantic_ai import PydanticAIModel
from tests.limits import HANG
from tests.wires.conftest import Script
from tests.wires.tap import Tamper, Tap
from tests.wires.test_wires import half_a_call, without_reason
from tests.wires.wires import Wire

pytestmark = pytest.mark.wires

ROUNDS = 4


class Pages:
    """Tools that note when they run, and pages that come when the test says so."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.come = asyncio.Event()
        self.tools = [tool(self.crawl, detach_after=0.02), tool(self.add)]

    async def crawl(self, url: str) -> str:
        """Fetch a page."""
        self.ran.append(url)
        await self.come.wait()
        return f"The text of {url}."

    async def add(self, a: int, b: int) -> int:
        """Add two numbers."""
        self.ran.append("add")
        return a + b


@pytest.fixture
def pages() -> Pages:
    return Pages()


@pytest.fixture
async def model(wire: Wire, tap: Tap) -> AsyncGenerator[PydanticAIModel]:
    made = wire.model(tap.url)
    yield made
    await made.aclose()


@pytest.fixture
def patience() -> float:
    """Seconds without a word from the model after which it has stalled."""
    return HANG


@pytest.fixture
async def chat(
    model: PydanticAIModel, pages: Pages, patience: float
) -> AsyncGenerator[AgentHandle]:
    agent = Agent(model, instructions="Be brief.", tools=pages.tools, model_timeout=patience)
    async with asyncio.timeout(HANG), sidetask.open(agent) as handle:
        yield handle


def call(call_id: str, name: str, **arguments: Any) -> dict[str, Any]:
    return {"id": call_id, "name": name, "arguments": json.dumps(arguments)}


def calling(number: int) -> dict[str, Any]:
    """Two pages that take long and a sum that does not, thought about before."""
    crawls = [call(f"{number}-{page}", "crawl", url=f"{page}.org") for page in ("a", "b")]
    return {
        "reasoning": "Two pages and a sum.",
        "reasoningSignature": "signed",
        "content": "Let me see.",
        "toolCalls": [*crawls, call(f"{number}-sum", "add", a=1, b=2)],
        "finishReason": "stop",
    }


async def test_a_long_conversation_with_late_results_stays_one_that_the_wire_takes(
    wire: Wire, chat: AgentHandle, pages: Pages, tap: Tap, script: Script
) -> None:
    texts = [{"content": said} for said in ("They are on their way.", "Yes.", "Both are there.")]
    script(*[reply for number in range(ROUNDS) for reply in (calling(number), *texts)])
    for _ in range(ROUNDS):
        pages.come.clear()
        assert str(await chat.ask("Crawl a.org and b.org.")) == "They are on their way."
        assert str(await chat.ask("Meanwhile, are you there?")) == "Yes."
        pages.come.set()
        await chat.wait_for_idle()
    assert sorted(pages.ran) == sorted(["a.org", "b.org", "add"] * ROUNDS)
    assert [m for m in chat.history() if isinstance(m, NotificationMessage)]
    assert len(tap.asked) == ROUNDS * 4
    for body in tap.asked:
        wire.check(body)
    assert "The text of b.org." in json.dumps(tap.asked[-1])


async def test_half_a_call_is_never_run(
    wire: Wire, chat: AgentHandle, pages: Pages, tap: Tap, script: Script
) -> None:
    script({**calling(0), "reasoning": ""}, {"content": "Here I am."})
    tap.tamper = Tamper(after=half_a_call, edit=without_reason)
    with pytest.raises(IncompleteResponseError):
        await chat.ask("Crawl a.org and b.org.")
    tap.tamper = None
    assert str(await chat.ask("Are you there?")) == "Here I am."
    assert pages.ran == []
    wire.check(tap.asked[1])
    assert "Let me see." in json.dumps(tap.asked[1])  # what was said before is kept


@pytest.mark.parametrize("patience", [3.0])  # far more than any reply needs
async def test_a_stall_ends_the_turn_and_frees_the_socket(
    wire: Wire, chat: AgentHandle, tap: Tap, script: Script, patience: float
) -> None:
    script({"content": "Hello there, friend."}, {"content": "Here I am."})
    tap.tamper = Tamper(after=lambda event: b"Hell" in event, then="stall")
    with pytest.raises(ModelStalledError):
        await chat.ask("Hello?")
    await tap.hung_up.wait()
    tap.tamper = None
    assert str(await chat.ask("Are you there?")) == "Here I am."
    wire.check(tap.asked[1])
    assert "Hell" in json.dumps(tap.asked[1])


async def test_a_stop_keeps_what_was_said_and_frees_the_socket(
    wire: Wire, chat: AgentHandle, tap: Tap, script: Script
) -> None:
    script({"content": "Hello there, friend."}, {"content": "Here I am."})
    tap.tamper = Tamper(after=lambda event: b"Hell" in event, then="stall")
    response = await chat.chat("Hello?")
    assert await anext(aiter(response.text_stream())) == "Hell"
    await chat.interrupt("turn")
    with pytest.raises(TurnCancelledError):
        await response
    await tap.hung_up.wait()
    tap.tamper = None
    assert str(await chat.ask("Are you there?")) == "Here I am."
    wire.check(tap.asked[1])
    partial = [m for m in chat.history() if isinstance(m, AssistantMessage) and m.partial]
    assert [message.text for message in partial] == ["Hell"]
