"""A store that takes nothing for a while."""

import asyncio

import pytest

from sidetask.core.errors import AlreadyDecidedError, StoreUnavailableError
from sidetask.tasks.stored import TASKS
from sidetask.testing import VirtualClock
from tests.tasks.durable.lives import Lives
from tests.tasks.harness import C, settle


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
