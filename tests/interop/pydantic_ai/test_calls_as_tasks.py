"""The calls of a moved-in agent are tasks: routed, late, cancelled, approved, and told whole."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

import pytest
from pydantic_ai import (
    Agent,
    ApprovalRequired,
    BinaryContent,
    CallDeferred,
    DeferredToolRequests,
    ImageUrl,
    ModelRetry,
    RunContext,
    Tool,
    ToolReturn,
)
from pydantic_ai.exceptions import ToolFailed

import sidetask
from sidetask import AgentHandle, Route, TaskPolicy, TaskStatus, background, detach_after
from sidetask.core.messages import (
    File,
    Image,
    NotificationMessage,
    ToolCall,
    ToolMessage,
    ToolResult,
)
from sidetask.interop.pydantic_ai import move_in
from tests.interop.pydantic_ai.played import Played, calls


@asynccontextmanager
async def opened(agent: Any, **options: Any) -> AsyncGenerator[AgentHandle]:
    async with asyncio.timeout(1_000), sidetask.open(agent, **options) as chat:
        yield chat


def results(chat: AgentHandle) -> list[ToolResult]:
    return [r for m in chat.history() if isinstance(m, ToolMessage) for r in m.results]


def late(chat: AgentHandle) -> list[str]:
    return [
        item.content
        for message in chat.history()
        if isinstance(message, NotificationMessage)
        for item in message.items
    ]


def crawling(*replies: Any, **options: Any) -> tuple[Agent[object, str], Played]:
    played = Played(*replies)
    agent = Agent(played.model)

    @agent.tool_plain(**options)
    async def crawl(site: str) -> str:
        """Read a site."""
        await asyncio.sleep(10)
        return f"{site} has 12 pages"

    return agent, played


async def test_a_routed_call_is_detached_and_its_result_comes_by_itself() -> None:
    agent, _ = crawling(calls("crawl", site="a.com"), "I am on it.", "12 pages!")
    async with opened(move_in(agent, routes={"crawl": detach_after(2)})) as chat:
        assert str(await chat.ask("How big?")) == "I am on it."
        texts = [str(await turn) async for turn in chat.turns(until="idle")]
        assert texts == ["12 pages!"]
        assert late(chat) == ["a.com has 12 pages"]


def in_background(call: ToolCall) -> Route:
    return background()


async def test_a_routing_policy_of_the_runtime_routes_them_too() -> None:
    agent, _ = crawling(calls("crawl", site="a.com"), "I am on it.", "12 pages!")
    async with opened(agent, routing=in_background) as chat:
        assert str(await chat.ask("How big?")) == "I am on it."
        await chat.wait_for_idle()
        assert late(chat) == ["a.com has 12 pages"]


async def test_a_policy_holds_for_its_tool() -> None:
    agent, played = crawling(calls("crawl", site="a.com"), "Too slow.")
    async with opened(move_in(agent, policies={"crawl": TaskPolicy(timeout=4)})) as chat:
        await chat.ask("How big?")
        (task,) = chat.tasks
        assert task.status is TaskStatus.TIMED_OUT
    assert "timed out" in played.answers(1)[0]


async def test_cancelling_the_task_cancels_the_tool() -> None:
    played = Played(calls("wait"), "Stopped.")
    agent = Agent(played.model)
    begun, ended = asyncio.Event(), asyncio.Event()

    @agent.tool_plain
    async def wait() -> None:
        """Wait."""
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with opened(agent) as chat:
        response = await chat.chat("Wait.")
        await begun.wait()
        (task,) = chat.tasks.running()
        await chat.tasks.cancel(task.id)
        await response
    assert ended.is_set()


async def test_a_late_retry_counts_in_the_step_that_runs_by_then() -> None:
    played = Played(calls("slow"), "Waiting.", calls("slow"), "Waiting again.", "It worked.")
    agent = Agent(played.model, retries=3)
    tries: list[int] = []

    @agent.tool
    async def slow(ctx: RunContext[object]) -> str:
        """Try slowly."""
        tries.append(ctx.retry)
        await asyncio.sleep(5)
        if len(tries) == 1:
            raise ModelRetry("Not yet.")
        return "now"

    async with opened(move_in(agent, routes={"slow": background()})) as chat:
        await chat.ask("hi")
        await chat.wait_for_idle()
        assert [text.split("\n")[0] for text in late(chat)] == ["Not yet.", "now"]


async def test_a_sequential_tool_runs_alone() -> None:
    played = Played([("one", {}), ("two", {})], "done")
    agent = Agent(played.model)
    alive: list[str] = []
    most = [0]

    async def at_work(name: str) -> None:
        alive.append(name)
        most[0] = max(most[0], len(alive))
        await asyncio.sleep(1)
        alive.remove(name)

    @agent.tool_plain(sequential=True)
    async def one() -> None:
        """One."""
        await at_work("one")

    @agent.tool_plain
    async def two() -> None:
        """Two."""
        await at_work("two")

    async with opened(agent) as chat:
        await chat.ask("hi")
    assert most == [1]


# -- approvals -------------------------------------------------------------------------------


def paying(*replies: Any) -> tuple[Agent[object, Any], Played, list[bool]]:
    played = Played(*replies)
    agent = Agent(played.model, output_type=[str, DeferredToolRequests])
    paid: list[bool] = []

    @agent.tool(requires_approval=True)
    async def pay(ctx: RunContext[object], euros: int) -> str:
        """Pay."""
        paid.append(ctx.tool_call_approved)
        return "paid"

    return agent, played, paid


@pytest.mark.parametrize("yes", [True, False])
async def test_a_tool_that_requires_approval_asks_a_person_while_the_turn_waits(yes: bool) -> None:
    agent, played, paid = paying(calls("pay", euros=3), "done")
    async with opened(agent) as chat:
        response = await chat.chat("Pay.")
        while not chat.approvals:
            await response.more()
        (approval,) = chat.approvals
        assert approval.call.parsed() == {"euros": 3}
        if yes:
            chat.approvals.approve(approval.id, by="ana")
        else:
            chat.approvals.deny(approval.id, "too much", by="ana")
        assert str(await response) == "done"
    assert paid == ([True] if yes else [])
    assert ("paid" in played.answers(1)[0]) is yes


async def test_arguments_that_do_not_fit_are_told_before_anybody_is_asked() -> None:
    agent, played, paid = paying(calls("pay", euros="much"), "done")
    async with opened(agent) as chat:
        await chat.ask("Pay.")
    assert "int_parsing" in played.answers(1)[0]
    assert paid == []


async def test_a_tool_may_ask_for_approval_itself() -> None:
    played = Played(calls("pay", euros=300), "done")
    agent = Agent(played.model, output_type=[str, DeferredToolRequests])

    @agent.tool
    async def pay(ctx: RunContext[object], euros: int) -> str:
        """Pay."""
        if euros > 100 and not ctx.tool_call_approved:
            raise ApprovalRequired(metadata={"limit": 100})
        return "paid"

    async with opened(agent) as chat:
        response = await chat.chat("Pay.")
        while not chat.approvals:
            await response.more()
        (approval,) = chat.approvals
        assert approval.metadata == {"limit": "100"}
        chat.approvals.approve(approval.id, by="ana")
        await response
    assert played.answers(1) == ["paid"]


# -- results ---------------------------------------------------------------------------------


async def answered(result: Any) -> tuple[ToolResult, Any]:
    """How a result reaches the model, and the host."""
    played = Played(calls("look"), "done")

    async def look() -> Any:
        """Look."""
        if isinstance(result, Exception):
            raise result
        return result

    async with opened(Agent(played.model, tools=[Tool(look)])) as chat:
        await chat.ask("hi")
        (found,) = results(chat)
        return found, chat


async def test_results_become_json_as_pydantic_serializes_them() -> None:
    found, _ = await answered({"day": date(2026, 1, 2), "tags": {"a"}, "n": None})
    assert found.content == '{"day": "2026-01-02", "tags": ["a"], "n": null}'
    found, _ = await answered(None)
    assert found.content == ""


PNG = BinaryContent(b"png", media_type="image/png")


@pytest.mark.parametrize(
    ("result", "content", "attachments"),
    [
        (PNG, "", (Image(data=b"png"),)),
        (["see:", PNG], "see:", (Image(data=b"png"),)),
        ([{"n": 1}, PNG], '{"n": 1}', (Image(data=b"png"),)),
        (
            ImageUrl("https://a.b/c.jpg"),
            "",
            (Image(media_type="image/jpeg", url="https://a.b/c.jpg"),),
        ),
        (
            BinaryContent(b"pdf", media_type="application/pdf"),
            "",
            (File(media_type="application/pdf", data=b"pdf"),),
        ),
        (ToolReturn({"n": 1}), '{"n": 1}', ()),
        (ToolReturn("done", content="Look closely."), "done\nLook closely.", ()),
        (ToolReturn({"n": 1}, content=["see:", PNG]), '{"n": 1}\nsee:', (Image(data=b"png"),)),
    ],
)
async def test_pictures_files_and_what_is_said_beside_a_value_reach_the_model(
    result: Any, content: str, attachments: tuple[Any, ...]
) -> None:
    found, _ = await answered(result)
    assert (found.content, found.attachments, found.is_error) == (content, attachments, False)


async def test_a_result_that_is_not_json_is_told_as_lost() -> None:
    found, _ = await answered(object())
    assert found.is_error
    assert "its result is lost" in found.content


@pytest.mark.parametrize(
    ("error", "told"),
    [(ToolFailed("No such page."), "No such page."), (CallDeferred(), "carried out elsewhere")],
)
async def test_a_call_that_fails_or_is_deferred_is_an_error(error: Exception, told: str) -> None:
    found, _ = await answered(error)
    assert found.is_error
    assert told in found.content
