"""A store that takes nothing for a while."""

import asyncio
from typing import Any, TypeVar

import pytest

from sidetask.core.errors import AlreadyDecidedError, StoreUnavailableError
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.messages import ToolCall
from sidetask.core.routing import TaskPolicy
from sidetask.engines.base import JobSpec
from sidetask.stores.base import Kind, Record
from sidetask.stores.memory import MemoryStore
from sidetask.tasks.context import RunContext
from sidetask.tasks.durable.steps import StoredSteps
from sidetask.tasks.stored import ORDERS, TASKS, Order
from sidetask.tasks.values import Completed, ToolOutcome
from sidetask.testing import VirtualClock
from tests.tasks.durable.lives import Lives
from tests.tasks.harness import C, settle

T = TypeVar("T")

RETRY = TaskPolicy(idempotent=True, on_crash="retry")


@pytest.fixture
def lives(clock: VirtualClock) -> Lives:
    return Lives(clock)


async def test_a_result_that_a_full_disk_did_not_take_is_kept_before_it_is_acknowledged(
    lives: Lives,
) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _, __: None)
    bench = await lives.begin()
    task = bench.start_in_background("sleep", {"seconds": 1})
    await settle()
    lives.disk.full = True
    assert (await bench.ended(task)).status == "succeeded"
    lives.disk.full = False
    assert [each.task_id for each in bench.pending()] == [task]
    kept = bench.manager.kept
    assert kept is not None
    await lives.disk.commit_turn(C, (), ack=kept.covered(C, [task]))
    bench = await lives.begin()
    assert (bench.pending(), bench.kinds()) == ((), [])


async def test_a_launch_that_a_full_disk_does_not_take_leaves_no_row_behind(lives: Lives) -> None:
    bench = await lives.begin()
    lives.disk.full = True
    with pytest.raises(StoreUnavailableError, match="full"):
        bench.start_in_background("quick")
    lives.disk.full = False
    await bench.ended(bench.start_in_background("quick"))
    assert len(await lives.disk.find(TASKS, conversation_id=C)) == 1


async def test_a_decision_is_entered_when_the_disk_takes_it_and_nothing_runs_before(
    lives: Lives,
) -> None:
    bench = await lives.begin()
    task = bench.start_in_background("gated")
    await settle()
    [asked] = bench.handle.approvals(C)
    lives.disk.full = True
    bench.handle.approve(asked.id, by="ana")
    await asyncio.sleep(10)
    assert bench.handle.get(task).status == "awaiting_approval"
    with pytest.raises(AlreadyDecidedError, match="approved by ana"):
        bench.handle.deny(asked.id, by="bob")
    lives.disk.full = False
    assert (await bench.ended(task)).status == "succeeded"


async def test_an_end_that_a_full_disk_did_not_take_is_told_when_there_is_room(
    lives: Lives,
) -> None:
    bench = await lives.begin()
    tasks = [bench.start_in_background("sleep", {"seconds": seconds}) for seconds in (1, 2)]
    await settle()
    lives.disk.full = True
    for task in tasks:
        await bench.ended(task)
    assert bench.told(tasks[0]) == ["task_queued", "task_started"]
    with pytest.raises(StoreUnavailableError):
        bench.start_in_background("quick")
    lives.disk.full = False
    await asyncio.sleep(1)
    assert bench.kinds()[-4:] == ["task_succeeded", "continue_requested"] * 2
    assert [bench.end_of(task).duration for task in tasks] == [1, 2]
    facts = await lives.disk.facts(C)
    assert [fact.seq for fact in facts] == list(range(1, len(facts) + 1))
    assert [fact.at for fact in facts] == sorted([fact.at for fact in facts]), "as it happened"


async def test_a_fact_that_comes_after_a_late_one_makes_it_told_first(lives: Lives) -> None:
    bench = await lives.begin()
    task = bench.start_in_background("sleep", {"seconds": 1})
    await settle()
    lives.disk.full = True
    await bench.ended(task)
    lives.disk.full = False
    bench.start_in_background("sleep")
    assert bench.kinds()[-3:] == ["task_succeeded", "continue_requested", "task_queued"]


async def test_a_step_that_is_done_waits_for_the_disk_and_is_not_lost(lives: Lives) -> None:
    async def stepping(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        async def done() -> str:
            lives.runs.append(call.name)
            lives.disk.full = True
            return "done"

        return Completed(None, await ctx.step("one", done))

    bench = await lives.begin({"stepping": stepping})
    task = bench.start_in_background("stepping", policy=RETRY)
    await asyncio.sleep(10)
    assert bench.handle.get(task).status == "running"
    lives.disk.full = False
    assert (await bench.ended(task)).content == "done"
    assert lives.runs == ["stepping"]


async def test_an_order_that_cannot_be_read_now_is_carried_out_when_it_can(lives: Lives) -> None:
    bench = await lives.begin()
    task = bench.start_in_background("sleep")
    await settle()
    lives.disk.view().put(
        Record(
            kind=ORDERS,
            conversation_id=C,
            id="1",
            status="open",
            at=1.0,
            value=Order(kind="cancel", task_id=task),
        )
    )
    lives.disk.away = True
    kept = bench.manager.kept
    assert kept is not None
    kept.attend(C, lambda _: None, lambda begun: begun())
    await asyncio.sleep(10)
    assert bench.handle.get(task).status == "running"
    lives.disk.away = False
    assert (await bench.ended(task)).status == "cancelled"


class AwayStore(MemoryStore):
    """A store whose database comes back after a while."""

    def __init__(self, refusals: int) -> None:
        super().__init__()
        self.refusals = refusals

    async def get(
        self, kind: Kind[T], conversation_id: ConversationId, id: str
    ) -> Record[T] | None:
        if self.refusals:
            self.refusals -= 1
            raise StoreUnavailableError("the server restarts", "wait")
        return await super().get(kind, conversation_id, id)


async def test_what_steps_have_returned_is_read_when_the_database_is_back(
    clock: VirtualClock,
) -> None:
    store = AwayStore(refusals=3)
    steps = StoredSteps(store, clock.now)
    spec = JobSpec("task-1:2", TaskId("task-1"), 2, "pay", "{}", C, replays=True)
    await steps.write(spec, "paid#0", 12)
    assert await steps.read(spec, "paid#0") == (12,)
    assert store.refusals == 0
