"""Which conversations have something to do and no home: one query, as it is said in plain words."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from sidetask.core.ids import ApprovalId, CallId, ConversationId, RunId, TaskId
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.messages import ToolCall
from sidetask.core.routing import OnComplete, TaskKind, TaskPolicy
from sidetask.core.usage import Usage
from sidetask.runtime.keeping.notes import TURNS, TurnNote
from sidetask.stores.base import ConversationRecord, Record, Store
from sidetask.stores.members import BELOW, HOME, NOBODY, STUCK
from sidetask.stores.queue import NewJob
from sidetask.tasks.remote.values import ASKS, Ask
from sidetask.tasks.stored import (
    HOMES,
    ORDERS,
    Home,
    Order,
    approval_record,
    result_record,
    task_record,
)
from sidetask.tasks.values import Approval, Decision, Resolution, TaskSnapshot
from tests.stores.homeless import forsaken
from tests.stores.samples import a_member

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.parametrize("url", ["postgres"], indirect=True),
]


@pytest.fixture
def anyio_backend() -> str:
    """A server has no virtual clock."""
    return "asyncio"


@pytest.fixture
async def store(opened: Callable[[], Store]) -> Store:
    made = opened()
    await made.start()
    return made


class Shop:
    """Makes conversations, each with one thing in it."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def a_conversation(self, name: str, *, home: str | None = NOBODY, agent: str = "clerk") -> None:
        key = ConversationId(name)
        self.store.save(ConversationRecord(id=key, agent=agent, created_at=1.0, updated_at=1.0))
        if home is not None:
            self.store.put(
                Record(kind=HOMES, conversation_id=key, id=HOME, status=home, at=1.0, value=Home())
            )

    def order(self, name: str, status: str = "open") -> None:
        value = Order(kind="send", text="Hi.")
        key = ConversationId(name)
        self.store.put(
            Record(kind=ORDERS, conversation_id=key, id="o", status=status, at=1.0, value=value)
        )

    def turn(self, name: str, status: str) -> None:
        note = TurnNote(run_id=RunId("r"), usage=Usage(), last_usage=Usage())
        key = ConversationId(name)
        self.store.put(
            Record(kind=TURNS, conversation_id=key, id="t", status=status, at=1.0, value=note)
        )

    def result(self, name: str, on_complete: OnComplete, *, to_loop: bool = True) -> None:
        value = Resolution(
            task_id=TaskId("task"),
            conversation_id=ConversationId(name),
            turn_id=None,
            call_ids=(CallId("c"),),
            name="work",
            status=TaskStatus.SUCCEEDED,
            content="done",
            on_complete=on_complete,
        )
        self.store.put(result_record(value, to_loop=to_loop, at=1.0))

    def task(self, name: str, status: TaskStatus, id: str = "task") -> None:
        value = TaskSnapshot(
            id=TaskId(id),
            conversation_id=ConversationId(name),
            name="work",
            arguments="{}",
            call_ids=(CallId("c"),),
            kind=TaskKind.BACKGROUND,
            status=status,
            policy=TaskPolicy(),
            created_at=1.0,
            turn_id=None,
            parent_id=None,
            detached=False,
            attempt=1,
            started_at=None,
            finished_at=None,
            progress=None,
            error=None,
            metadata={},
        )
        self.store.put(task_record(value))

    def approval(self, name: str, decision: Decision, id: str = "a", task: str = "task") -> None:
        call = ToolCall.make("work", {"task_id": "other"}, id="c")
        value = Approval(
            id=ApprovalId(id),
            task_id=TaskId(task),
            conversation_id=ConversationId(name),
            call=call,
            digest=call.digest(),
            kind="k",
            reason='"task_id": "other"',
            summary="",
            metadata={"task_id": "other"},
            created_at=1.0,
        )
        self.store.put(approval_record(replace(value, decision=decision)))

    async def job(self, name: str, *, over: bool = False) -> None:
        key, job_id = ConversationId(name), f"{name}:1"
        self.store.queue.enqueue(
            NewJob(
                id=job_id,
                conversation_id=key,
                task_id=TaskId("task"),
                key=f"clerk/{name}",
                fingerprint="f",
                on_crash="fail",
                at=1.0,
                data={},
            )
        )
        if over:
            await self.store.queue.claim("w", [f"clerk/{name}"], limit=1)
            await self.store.queue.finish(job_id, "w", {})

    def ask(self, name: str, status: str = "open") -> None:
        value = Ask(job_id=f"{name}:1", reason="why", details={})
        key = ConversationId(name)
        self.store.put(
            Record(
                kind=ASKS, conversation_id=key, id=f"{name}:1:1", status=status, at=1.0, value=value
            )
        )


async def test_what_somebody_has_or_may_not_have_is_not_found(store: Store) -> None:
    shop, member = Shop(store), await store.members.join(a_member("alive", role="home"))
    for name, home, agent in (
        ("order", NOBODY, "clerk"),
        ("order-of-a-dead", "dead", "clerk"),
        ("no-order-had", "alive", "clerk"),
        ("no-order-stuck", STUCK, "clerk"),
        ("no-order-below", BELOW, "clerk"),
        ("no-order-agent", NOBODY, "other"),
        ("no-order-home", None, "clerk"),
    ):
        shop.a_conversation(name, home=home, agent=agent)
        shop.order(name)
    found = await store.members.forsaken(["clerk"], limit=100)
    assert {each.conversation_id: each.had_by for each in found} == {
        "order": NOBODY,
        "order-of-a-dead": "dead",
    }
    assert len(await store.members.forsaken(["clerk"], limit=1)) == 1
    assert await store.members.forsaken([], limit=1) == []
    await member.leave()
    again = await store.members.forsaken(["clerk"], limit=100)
    assert "no-order-had" in {each.conversation_id for each in again}


async def test_each_reason_is_found_and_nothing_else(store: Store) -> None:
    shop = Shop(store)
    running, waits = TaskStatus.RUNNING, TaskStatus.AWAITING_APPROVAL
    for name in (
        *("no-order-done", "turn", "no-turn", "result", "no-result-news", "no-result-host"),
        *("task", "task-queued", "no-task-ended", "task-job-over", "no-task-job", "no-idle"),
        *("decided", "no-decided-one-of-two", "no-waits", "ask", "no-ask-waits", "no-ask-answered"),
    ):
        shop.a_conversation(name)
    shop.order("no-order-done", "done")
    shop.turn("turn", "running")
    shop.turn("no-turn", "completed")
    shop.result("result", OnComplete.CONTINUE)
    shop.result("no-result-news", OnComplete.NOTIFY)
    shop.result("no-result-host", OnComplete.CONTINUE, to_loop=False)
    shop.task("task", running)
    shop.task("task-queued", TaskStatus.QUEUED)
    shop.task("no-task-ended", TaskStatus.SUCCEEDED)
    shop.task("task-job-over", running)
    await shop.job("task-job-over", over=True)
    for name in ("no-task-job", "ask", "no-ask-answered"):
        shop.task(name, running)
        await shop.job(name)
    shop.ask("ask")
    shop.ask("no-ask-answered", "approved")
    for name in ("decided", "no-decided-one-of-two", "no-waits", "no-ask-waits"):
        shop.task(name, waits)
    shop.approval("decided", Decision.APPROVED)
    shop.task("decided", waits, "second")
    shop.approval("decided", Decision.OPEN, "b", "second")
    shop.approval("no-decided-one-of-two", Decision.APPROVED)
    shop.approval("no-decided-one-of-two", Decision.OPEN, "b")
    shop.approval("no-waits", Decision.OPEN)
    shop.approval("no-ask-waits", Decision.OPEN)
    await shop.job("no-ask-waits")
    shop.ask("no-ask-waits")
    found = await store.members.forsaken(["clerk"], limit=100)
    ids = sorted([each.conversation_id for each in found])
    assert ids == ["ask", "decided", "result", "task", "task-job-over", "task-queued", "turn"]
    plain = await forsaken(store, ["alive"], ["clerk"])
    assert sorted([each.conversation_id for each in plain]) == ids


@pytest.mark.slow
async def test_it_costs_little_however_many_conversations_there_are(store: Store) -> None:
    shop = Shop(store)
    for number in range(4_000):
        shop.a_conversation(f"c{number}")
        shop.turn(f"c{number}", "completed")
        if number % 1_000 == 0:
            shop.order(f"c{number}")
            await store.stored()
    await store.stored()
    clock = asyncio.get_running_loop()
    await store.members.forsaken(["clerk"], limit=100)
    took: list[float] = []
    for _ in range(20):
        began = clock.time()
        assert len(await store.members.forsaken(["clerk"], limit=100)) == 4
        took.append(clock.time() - began)
    print(f"\n{1000 * min(took):.1f} ms with 4,000 conversations")
    assert min(took) < 0.1  # the least: a machine that is busy takes longer, and not each time
