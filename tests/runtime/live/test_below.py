"""What is open of a conversation that works for a task ends with it, however it ends."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from sidetask import Agent, AgentHandle, Runtime, background, tool
from sidetask.core.ids import ApprovalId, ConversationId, TaskId
from sidetask.core.messages import ToolCall
from sidetask.stores.base import Kind, Record, Store
from sidetask.stores.opening import open_store
from sidetask.tasks.stored import (
    APPROVALS,
    ORDERS,
    RESULTS,
    SUB_AGENTS,
    TASKS,
    Order,
    SubAgent,
    approval_record,
)
from sidetask.tasks.values import Approval
from sidetask.testing import ScriptedModel, call, running_runtime
from tests.runtime.harness import Held, settle

KINDS: tuple[Kind[Any], ...] = (TASKS, RESULTS, APPROVALS, ORDERS, SUB_AGENTS)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[Store]:
    made = open_store(f"sqlite:///{tmp_path / 'test.db'}")
    yield made
    await made.close()


async def what_is_open(store: Store) -> list[str]:
    return [each.id for kind in KINDS for each in await store.find(kind, open=True)]


def asked(key: str) -> Record[Approval]:
    """A question that nobody waits for."""
    question = ToolCall.make("sign", {}, id="call-1")
    return approval_record(
        Approval(
            id=ApprovalId(f"approval of {key}"),
            task_id=TaskId("task-1"),
            conversation_id=ConversationId(key),
            call=question,
            kind="tool",
            reason="",
            summary="sign",
            digest=question.digest(),
            created_at=0.0,
            metadata={},
        )
    )


def below(key: str, above: str) -> Record[SubAgent]:
    made = SubAgent(task_id=TaskId("task-1"))
    return record(SUB_AGENTS, above, key, made)


def record(kind: Kind[Any], key: str, id: str, value: Any) -> Record[Any]:
    status, of = "open", ConversationId(key)
    return Record(kind=kind, conversation_id=of, id=id, status=status, at=0.0, value=value)


async def with_results_below(runtime: Runtime, held: Held) -> AgentHandle:
    """An agent below has a result that it has not read, when its own work is stopped."""

    @tool(route=background())
    async def quick() -> str:
        """Be done at once."""
        return "quick"

    model = ScriptedModel((call("quick"), call("held")))
    helper = Agent(model, name="helper", instructions="Helps.", tools=[quick, held.tool])
    model = ScriptedModel(call("helper", input="go"), "Begun.", "Stopped.")
    head = Agent(model, name="head", tools=[helper.as_tool(route=background())])
    chat = await runtime.open(head, conversation_id="mine")
    await chat.ask("go")
    await held.begun.wait()
    await settle()
    return chat


async def test_what_an_agent_below_has_not_read_ends_with_its_task(store: Store) -> None:
    async with running_runtime(store=store) as runtime:
        chat = await with_results_below(runtime, Held())
        [task] = chat.tasks.running()
        [sub] = await store.find(SUB_AGENTS, open=True)
        assert (sub.conversation_id, sub.value.task_id) == ("mine", task.id)
        assert await store.find(RESULTS, conversation_id=ConversationId(sub.id), open=True)
        await chat.tasks.cancel(task.id)
        await chat.wait_for_idle()
        assert await what_is_open(store) == []
        await chat.shutdown()


async def test_what_a_crash_has_left_open_below_ends_when_the_first_one_is_taken_up(
    store: Store,
) -> None:
    agent = Agent(ScriptedModel("Hi."), name="head")
    async with running_runtime(store=store, agents=[agent]) as runtime:
        chat = await runtime.open("head", conversation_id="mine")
        await chat.ask("hi")
        await chat.disconnect()
        left: list[Record[Any]] = [
            below("below", "mine"),
            asked("below"),
            record(ORDERS, "below", "order-1", Order(kind="send", text="hi")),
            below("deeper", "below"),
            asked("deeper"),
            below("elsewhere", "other"),
            asked("elsewhere"),
        ]
        for each in left:
            store.put(each)
        again = await runtime.resume("mine")
        assert await what_is_open(store) == ["approval of elsewhere", "elsewhere"]
        found = await store.get(APPROVALS, ConversationId("deeper"), "approval of deeper")
        assert found is not None
        assert (found.status, found.value.decided_by) == ("withdrawn", "sidetask")
        await again.shutdown()


async def test_what_works_for_a_users_agent_is_the_users(store: Store) -> None:
    helper = Agent(ScriptedModel("Helped."), name="helper", instructions="Helps.")
    head = Agent(ScriptedModel(call("helper", input="go"), "Done."), tools=[helper.as_tool()])
    async with (
        running_runtime(store=store) as runtime,
        runtime.open(head, conversation_id="mine", user="u42") as chat,
    ):
        await chat.ask("go")
        theirs = await store.erase("u42")  # with all that was said in it
        assert len(theirs) == 2
        assert await store.conversations() == []
