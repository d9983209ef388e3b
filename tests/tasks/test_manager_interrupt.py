"""What a Stop does: it ends what the turn waits for, and spares the background."""

import asyncio

import pytest

from sidetask.core.ids import TaskId, TurnId
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.routing import OnInterrupt, TaskPolicy, background, detach_after
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.tasks.parts.permits import Limits
from sidetask.tasks.values import Detached, Resolved, TurnCancelled, TurnSettled, TurnUpdate
from sidetask.testing import VirtualClock
from tests.tasks.harness import LIMIT, Bench, C, T, settle

JOIN = TaskPolicy(on_duplicate="join")
KEEP = TaskPolicy(on_interrupt="keep")


def answered(updates: list[TurnUpdate]) -> dict[str, str]:
    """Call ids, and how each was answered."""
    found: dict[str, str] = {}
    for update in updates:
        calls = update.call_ids if isinstance(update, Detached) else update.resolution.call_ids
        how = "receipt" if isinstance(update, Detached) else str(update.resolution.status)
        for call in calls:
            assert call not in found
            found[call] = how
    return found


async def one_of_each(clock: VirtualClock, policy: TaskPolicy) -> tuple[Bench, dict[str, TaskId]]:
    """A turn that waits for a task in each living status."""
    bench = Bench(clock, limits=Limits(conversation=1))
    tasks = {
        name: bench.start(name, policy=policy, call_id=name)
        for name in ("gated", "asking", "sleep", "quick")
    }
    await settle()
    statuses = [str(bench.handle.get(task).status) for task in tasks.values()]
    assert statuses == ["awaiting_approval", "awaiting_approval", "running", "queued"]
    return bench, tasks


async def test_a_stop_cancels_all_foreground_tasks_of_the_turn_whatever_they_do(
    clock: VirtualClock,
) -> None:
    bench, tasks = await one_of_each(clock, TaskPolicy())
    updates = bench.manager.on_turn_interrupted(C, T)
    assert answered(updates) == dict.fromkeys(tasks, "cancelled")
    await bench.idle()
    await settle()
    assert {bench.handle.get(task).status for task in tasks.values()} == {TaskStatus.CANCELLED}
    assert (bench.handle.approvals(), bench.pending()) == ([], ())
    assert await bench.news() == TurnSettled()
    await bench.assert_no_leaks()


async def test_a_stop_detaches_the_foreground_tasks_that_are_to_be_kept(
    clock: VirtualClock,
) -> None:
    bench, tasks = await one_of_each(clock, KEEP)
    updates = bench.manager.on_turn_interrupted(C, T)
    assert answered(updates) == dict.fromkeys(tasks, "receipt")
    for approval in bench.handle.approvals():
        bench.handle.approve(approval.id, by="ana")
    await bench.idle()
    assert {item.task_id for item in bench.pending()} == set(tasks.values())
    assert all("task_detached" in bench.told(task) for task in tasks.values())
    assert await bench.news() == TurnSettled()


async def test_a_kept_foreground_task_does_not_see_its_turns_token(bench: Bench) -> None:
    turn = CancelToken()
    kept = bench.start("asking", policy=KEEP, cancellation=turn)
    await settle()
    turn.cancel("stop")
    bench.manager.on_turn_interrupted(C, T)
    bench.handle.approve(bench.handle.approvals()[0].id, by="ana")
    assert (await bench.ended(kept)).status == "succeeded"


@pytest.mark.parametrize("on_interrupt", [None, OnInterrupt.KEEP, "cancel"])
async def test_a_stop_spares_background_and_detached_tasks(
    bench: Bench, on_interrupt: OnInterrupt | None
) -> None:
    policy = TaskPolicy(on_interrupt=on_interrupt)
    behind = bench.start(route=background(), policy=policy)
    detached = bench.start(route=detach_after(1), policy=policy)
    assert isinstance(await bench.news(), Detached)
    assert bench.manager.on_turn_interrupted(C, T) == []
    await bench.idle()
    ends = {item.task_id: str(item.status) for item in bench.pending()}
    assert ends == {behind: "succeeded", detached: "succeeded"}


async def test_what_the_turn_was_not_told_yet_is_returned_by_the_stop(bench: Bench) -> None:
    bench.start("quick", call_id="done")
    bench.start(route=detach_after(1), call_id="behind")
    bench.start(call_id="running")
    await asyncio.sleep(2)
    updates = bench.manager.on_turn_interrupted(C, T)
    assert answered(updates) == {"done": "succeeded", "behind": "receipt", "running": "cancelled"}
    assert [type(update) for update in updates] == [Resolved, Detached, Resolved]
    assert await bench.news() == TurnSettled()


async def test_a_turn_id_that_is_used_again_starts_clean(bench: Bench) -> None:
    old = bench.start("stubborn", {"seconds": 3})
    await settle()
    bench.manager.on_turn_interrupted(C, T)
    new = bench.start("sleep", {"seconds": 50})
    assert (await bench.answer()).task_id == new
    assert await bench.news() == TurnSettled()
    assert bench.handle.get(old).status is TaskStatus.CANCELLED
    assert bench.pending() == ()


async def test_a_stop_does_not_wait_for_work_that_will_not_stop(bench: Bench) -> None:
    task = bench.start("stubborn", call_id="call-1")
    await settle()
    updates = bench.manager.on_turn_interrupted(C, T)
    assert answered(updates) == {"call-1": "cancelled"}
    assert bench.handle.get(task).status is TaskStatus.RUNNING
    assert bench.manager.on_turn_interrupted(C, T) == []
    await asyncio.sleep(LIMIT)
    assert bench.told(task)[-1] == "task_cancelled"
    assert (bench.pending(), await bench.news()) == ((), TurnSettled())
    await bench.assert_no_leaks()


async def test_a_task_that_is_being_cancelled_is_answered_by_the_stop_once(
    bench: Bench,
) -> None:
    task = bench.start("stubborn", call_id="call-1")
    await settle()
    bench.handle.task(task).cancel("by hand")
    [update] = bench.manager.on_turn_interrupted(C, T)
    assert isinstance(update, Resolved)
    assert "by hand" in update.resolution.content
    await bench.idle()
    assert (bench.pending(), await bench.news()) == ((), TurnSettled())


async def test_a_stop_wakes_who_waits_for_the_turn(bench: Bench) -> None:
    bench.start()
    async with asyncio.TaskGroup() as group:
        waiter = group.create_task(bench.news())
        await settle()
        bench.manager.on_turn_interrupted(C, T)
    assert waiter.result() == TurnSettled()


async def test_a_stop_of_an_unknown_turn_does_nothing(bench: Bench) -> None:
    task = bench.start()
    assert bench.manager.on_turn_interrupted(C, TurnId("other")) == []
    assert bench.manager.on_turn_interrupted(C, TurnId("other")) == []
    assert (await bench.ended(task)).status == "succeeded"


# -- calls that joined -------------------------------------------------------------------------


async def test_joined_calls_of_the_turn_are_answered_by_the_stop_and_not_again(
    bench: Bench,
) -> None:
    for call in ("first", "second"):
        bench.start("stubborn", {"seconds": 3}, policy=JOIN, call_id=call)
    await settle()
    updates = bench.manager.on_turn_interrupted(C, T)
    assert answered(updates) == {"first": "cancelled", "second": "cancelled"}
    await bench.idle()
    assert (bench.pending(), await bench.news()) == ((), TurnSettled())
    await bench.assert_no_leaks()


async def test_a_stop_of_a_turn_that_only_joined_lets_the_task_go_on(bench: Bench) -> None:
    bench.start("sleep", {"seconds": 5}, policy=JOIN, call_id="mine", turn="first")
    task = bench.start("sleep", {"seconds": 5}, policy=JOIN, call_id="joined", turn="second")
    updates = bench.manager.on_turn_interrupted(C, TurnId("second"))
    assert answered(updates) == {"joined": "receipt"}
    assert (await bench.answer("first")).call_ids == ("mine",)
    [late] = bench.pending()
    assert (late.task_id, late.call_ids) == (task, ("joined",))


async def test_a_stop_of_the_turn_that_owns_a_task_ends_it_for_those_who_joined(
    bench: Bench,
) -> None:
    bench.start(policy=JOIN, call_id="mine", turn="first")
    bench.start(policy=JOIN, call_id="joined", turn="second")
    await settle()
    assert answered(bench.manager.on_turn_interrupted(C, TurnId("first"))) == {"mine": "cancelled"}
    joined = await bench.answer("second")
    assert (joined.call_ids, joined.status) == (("joined",), "cancelled")
    assert bench.pending() == ()


# -- the order in which a turn is told ---------------------------------------------------------


async def test_queued_updates_beat_settled_and_settled_beats_cancelled(bench: Bench) -> None:
    turn = CancelToken()
    bench.start("quick")
    bench.start()
    await settle()
    turn.cancel("stop")
    assert isinstance(await bench.news(cancellation=turn), Resolved)
    assert await bench.news(cancellation=turn) == TurnCancelled("stop")
    bench.manager.on_turn_interrupted(C, T)
    assert await bench.news(cancellation=turn) == TurnSettled()


async def test_a_token_that_is_cancelled_later_wakes_the_waiting_turn(bench: Bench) -> None:
    turn = CancelToken()
    bench.start()
    asyncio.get_running_loop().call_later(5, turn.cancel, "stop")
    assert await bench.news(cancellation=turn) == TurnCancelled("stop")
