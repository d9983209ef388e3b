"""A runtime whose conversations are in a database."""

import asyncio
from collections.abc import Callable

import pytest

from sidetask import Agent, background, tool
from sidetask.client import Client
from sidetask.core.errors import AlreadyDecidedError
from sidetask.core.events import EventKind
from sidetask.core.ids import ConversationId
from sidetask.core.messages import NotificationMessage
from sidetask.stores.base import Store
from sidetask.testing import ScriptedModel, VirtualClock, call, running_runtime
from tests.stores.conftest import DATABASES

pytestmark = pytest.mark.parametrize("url", DATABASES, indirect=True)


async def test_a_conversation_is_there_when_its_runtime_is_gone(
    url: str, opened: Callable[[], Store]
) -> None:
    async with (
        running_runtime(store=url) as runtime,
        runtime.open(Agent(ScriptedModel("Hello.")), conversation_id="mine") as chat,
    ):
        await chat.ask("hi")
    store = opened()
    history = await store.history(ConversationId("mine"))
    assert [type(message).__name__ for message in history] == ["UserMessage", "AssistantMessage"]
    facts = await store.facts(ConversationId("mine"))
    assert [fact.seq for fact in facts] == list(range(1, len(facts) + 1))
    assert facts[-1].kind is EventKind.RUN_COMPLETED
    assert [fact for fact in facts if "delta" in fact.kind] == [], "the whole message is kept"


async def test_conversations_without_a_name_of_two_runtimes_are_two(url: str) -> None:
    ids: set[str] = set()
    for _ in range(2):
        async with (
            running_runtime(store=url) as runtime,
            runtime.open(Agent(ScriptedModel("Hello."))) as chat,
        ):
            await chat.ask("hi")
            ids.add(chat.conversation_id)
    assert len(ids) == 2


DAY = 86_400.0


async def test_a_yes_after_three_days_runs_the_tool_of_the_next_release(
    url: str, clock: VirtualClock
) -> None:
    ran: list[str] = []

    @tool(route=background(), approval="ask", name="pay")
    async def pay_1(amount: int) -> str:
        """Pay a bill."""
        ran.append("the release before")
        return "never"

    @tool(route=background(), approval="ask", name="pay")
    async def pay_2(amount: int, currency: str = "EUR") -> str:
        """Pay a bill, in some currency."""
        ran.append(f"{amount} {currency}")
        return f"paid {amount} {currency}"

    assert pay_1.fingerprint != pay_2.fingerprint
    old = Agent(ScriptedModel(call("pay", amount=5), "Asked."), name="clerk", tools=[pay_1])
    async with running_runtime(store=url, on_approval="host") as runtime:
        chat = await runtime.open(old, conversation_id="mine")
        await chat.ask("Pay.")
        await chat.disconnect()
    asked_at = clock.now()
    await asyncio.sleep(3 * DAY)
    async with Client(url) as client:
        [asked] = await client.approvals(status="open")
        await asked.approve(by="ana")
        with pytest.raises(AlreadyDecidedError):
            await client.deny(asked.id, by="bob")
    assert clock.now() - asked_at >= 3 * DAY
    new = Agent(ScriptedModel("I see."), name="clerk", tools=[pay_2])
    async with (
        running_runtime(store=url, agents=[new], on_approval="host") as runtime,
        runtime.resume("mine") as chat,
    ):
        await chat.wait_for_idle()
        told = [each for each in chat.history() if isinstance(each, NotificationMessage)]
        assert [item.content for each in told for item in each.items] == ["paid 5 EUR"]
    assert ran == ["5 EUR"]


async def test_another_process_reads_events_again_and_goes_on_live(
    url: str, opened: Callable[[], Store]
) -> None:
    agent = Agent(ScriptedModel(*["Hello."] * 9), name="talker")
    async with (
        asyncio.timeout(1_000),
        running_runtime(store=url) as runtime,
        runtime.open(agent, conversation_id="mine") as chat,
    ):
        await chat.ask("one")
        told = await opened().last_seq(ConversationId("mine"))
        seen: list[int] = []
        async with Client(url) as client, client.events("mine", after=3) as events:
            async for event in events:
                seen.append(event.seq)
                if event.seq == told:
                    await chat.ask("two")  # nobody reads meanwhile
                elif event.kind is EventKind.RUN_COMPLETED:
                    break
        assert seen == list(range(4, seen[-1] + 1))
        assert seen[-1] > told
