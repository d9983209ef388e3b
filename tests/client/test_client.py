"""Another process looks into a store, and steers what runs by it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import pytest

from sidetask import Agent, AgentHandle, RunContext, Runtime, background, tool
from sidetask.client import Client
from sidetask.core.errors import (
    AlreadyDecidedError,
    ApprovalNotFoundError,
    ConversationNotFoundError,
    InvalidInputError,
    TaskNotFoundError,
)
from sidetask.core.events import EventKind, TaskCancelled, TaskEvent
from sidetask.testing import ScriptedModel, call
from tests.limits import HANG
from tests.stores.conftest import DATABASES, new_database, server

__all__ = ["server"]

pytestmark = pytest.mark.slow


@pytest.fixture
def anyio_backend() -> str:
    """Two processes meet in a file, five times a second, or on a server."""
    return "asyncio"


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return new_database(request.getfixturevalue("server"))
    return f"sqlite:///{tmp_path / 'test.db'}"


@tool(route=background())
async def forever(ctx: RunContext[object]) -> str:
    """Work until somebody stops it."""
    ctx.state.set("began", True)
    await asyncio.sleep(1_000)
    return "never"


@tool(approval="ask", route=background())
async def pay(amount: int) -> str:
    """Pay somebody."""
    return f"paid {amount}"


@pytest.fixture
def agent() -> Agent:
    script = (call("forever"), call("pay", amount=5)), "Begun.", *["More."] * 9
    return Agent(ScriptedModel(*script), name="clerk", tools=[forever, pay])


@pytest.fixture
async def chat(url: str, agent: Agent) -> AsyncGenerator[AgentHandle]:
    """A conversation with two tasks: one works, and one waits for a person."""
    async with Runtime(store=url, agents=[agent], on_approval="host") as runtime:
        chat = await runtime.open(agent, conversation_id="mine", user="ana")
        await chat.ask("Begin.")
        yield chat
        await chat.shutdown()


@pytest.fixture
async def client(url: str, chat: AgentHandle) -> AsyncGenerator[Client]:
    async with Client(url) as client:
        yield client


async def until(happened: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(HANG):
        while not await happened():  # noqa: ASYNC110 - another process sets no event here
            await asyncio.sleep(0.02)


async def test_it_sees_conversations_messages_tasks_questions_and_state(client: Client) -> None:
    [found] = await client.conversations(user="ana")
    assert (found.id, found.agent, found.title, found.turns) == ("mine", "clerk", "Begin.", 1)
    assert list(await client.conversations(user="bob")) == []
    assert [type(each).__name__ for each in await client.history("mine")] == [
        "UserMessage",
        "AssistantMessage",
        "ToolMessage",
        "AssistantMessage",
    ]
    tasks = await client.tasks(conversation_id="mine")
    assert [(each.name, str(each.status)) for each in tasks] == [
        ("forever", "running"),
        ("pay", "awaiting_approval"),
    ]
    assert await client.task(tasks[0].id) == tasks[0]
    assert list(await client.tasks(after=tasks[0])) == [tasks[1]]
    assert list(await client.tasks(status="closed")) == []
    with pytest.raises(InvalidInputError, match="'open', 'closed' or None, not 'done'"):
        await client.tasks(status="done")  # pyright: ignore[reportArgumentType]
    [asked] = await client.approvals(user="ana")
    assert (asked.tool, asked.arguments, asked.task_id) == ("pay", {"amount": 5}, tasks[1].id)
    assert (await client.state("mine"))["began"] is True


async def test_an_approval_from_outside_runs_the_task(client: Client, chat: AgentHandle) -> None:
    [asked] = await client.approvals()
    decided = await asked.approve(by="ana", note="ok")
    assert not decided.is_open
    result = await asyncio.wait_for(chat.tasks.wait(asked.task_id), HANG)
    assert result.content == "paid 5"
    for again in (asked.approve, asked.deny):
        with pytest.raises(AlreadyDecidedError, match="approved by ana"):
            await again(by="bob")
    assert list(await client.approvals()) == []
    [closed] = await client.approvals(status="closed")
    assert (closed.value.decided_by, closed.value.note) == ("ana", "ok")


async def test_of_two_who_decide_at_once_one_does_and_it_runs_once(
    url: str, client: Client, chat: AgentHandle
) -> None:
    [asked] = await client.approvals(status="open")
    late: list[str] = []

    async def approve(by: Client, name: str) -> None:
        try:
            await by.approve(asked.id, by=name)
        except AlreadyDecidedError:
            late.append(name)

    async with Client(url) as other, asyncio.TaskGroup() as both:
        both.create_task(approve(client, "ana"))
        both.create_task(approve(other, "bob"))
    assert len(late) == 1
    result = await asyncio.wait_for(chat.tasks.wait(asked.task_id), HANG)
    assert (str(result.status), result.content) == ("succeeded", "paid 5")
    facts = [event async for event in chat.events(after=0, follow=False)]
    kinds = [
        event.kind
        for event in facts
        if isinstance(event, TaskEvent) and event.task_id == asked.task_id
    ]
    after = kinds[kinds.index(EventKind.APPROVAL_DECIDED) :]
    assert [after.count(kind) for kind in after] == [1] * len(after), "queued, started, succeeded"
    assert after[-1] == EventKind.TASK_SUCCEEDED


async def test_other_arguments_may_be_approved_from_outside(
    client: Client, chat: AgentHandle
) -> None:
    [asked] = await client.approvals()
    await client.approve(asked.id, by="ana", arguments={"amount": 3})
    assert (await asyncio.wait_for(chat.tasks.wait(asked.task_id), HANG)).content == "paid 3"


async def test_a_denial_from_outside_is_told_with_its_reason(
    client: Client, chat: AgentHandle
) -> None:
    [asked] = await client.approvals()
    await client.deny(asked.id, "too dear", by="ana")
    result = await asyncio.wait_for(chat.tasks.wait(asked.task_id), HANG)
    assert (str(result.status), "too dear" in result.content) == ("denied", True)


async def test_a_task_is_cancelled_from_outside(client: Client, chat: AgentHandle) -> None:
    [task, _] = await client.tasks()
    await client.cancel(task.id, "not needed", by="ana")
    result = await asyncio.wait_for(chat.tasks.wait(task.id), HANG)
    assert (str(result.status), "not needed" in result.content) == ("cancelled", True)
    facts = [event async for event in chat.events(after=0, follow=False)]
    ends = [event for event in facts if isinstance(event, TaskCancelled)]
    assert [each.abandoned for each in ends] == [False]
    await until(lambda: ended(client, task.id))


async def test_a_turn_is_freed_from_outside_of_a_call_that_waits_for_a_person(url: str) -> None:
    @tool(approval="ask")
    async def send() -> str:
        """Send a mail."""
        return "sent"

    agent = Agent(ScriptedModel(call("send"), "It waits.", "Told."), name="clerk", tools=[send])
    async with (
        Runtime(store=url, agents=[agent], on_approval="host") as runtime,
        runtime.open(agent, conversation_id="freed") as chat,
        Client(url) as client,
        asyncio.timeout(HANG),
    ):
        asking = asyncio.ensure_future(chat.ask("Send it."))
        await until(lambda: client.tasks(conversation_id="freed"))
        [task] = await client.tasks(conversation_id="freed")
        assert not asking.done()
        await client.detach(task.id, by="ana")
        assert (await asking).text == "It waits."
        [asked] = await client.approvals(status="open")
        await asked.approve(by="ana")
        result = await chat.tasks.wait(task.id)
        assert (str(result.status), result.content) == ("succeeded", "sent")


async def ended(client: Client, task_id: str) -> bool:
    return (await client.task(task_id)).status == "cancelled"


async def test_what_is_said_from_outside_begins_a_turn_and_its_events_can_be_followed(
    client: Client, chat: AgentHandle
) -> None:
    seen = [event async for event in chat.events(after=0, follow=False)]
    async with asyncio.timeout(HANG), client.events("mine", after=len(seen)) as events:
        await client.send("mine", "Hello from outside.")
        async for event in events:
            if event.kind is EventKind.RUN_COMPLETED:
                break
    texts = [getattr(each, "text", "") for each in await client.history("mine")]
    assert texts[-2:] == ["Hello from outside.", "More."]


async def test_what_was_ordered_while_nobody_was_there_is_done_when_it_is_taken_up(
    url: str, agent: Agent, client: Client, chat: AgentHandle
) -> None:
    await chat.disconnect()
    await client.send("mine", "Are you there?")
    async with Runtime(store=url, agents=[agent], on_approval="host") as runtime:
        again = await runtime.resume("mine")

        async def answered() -> bool:
            return any(getattr(each, "text", "") == "Are you there?" for each in again.history())

        await until(answered)
        await again.shutdown()


async def test_what_is_not_there_is_said_so(client: Client) -> None:
    with pytest.raises(ConversationNotFoundError, match="yours"):
        await client.conversation("yours")
    with pytest.raises(ConversationNotFoundError, match="yours"):
        await client.send("yours", "hi")
    with pytest.raises(TaskNotFoundError, match="task-0"):
        await client.cancel("task-0")
    with pytest.raises(ApprovalNotFoundError, match="approval-0"):
        await client.approve("approval-0", by="ana")
    with pytest.raises(InvalidInputError):
        await client.send("mine", "  ")
    [asked] = await client.approvals()
    with pytest.raises(InvalidInputError, match="say who decides"):
        await asked.approve(by="")


def test_a_store_in_memory_has_no_other_side() -> None:
    with pytest.raises(InvalidInputError, match="memory of another process"):
        Client("memory:")
