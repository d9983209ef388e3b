"""The same tool with the same arguments, while the first call is alive; and ids used twice."""

import asyncio

import pytest

from sidetask.core.errors import DuplicateTaskError
from sidetask.core.ids import ConversationId, TurnId
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.messages import ToolCall
from sidetask.core.routing import OnDuplicate, TaskPolicy, background, detach_after
from sidetask.tasks.values import Detached, Pending, TaskLaunch, TurnSettled
from tests.tasks.harness import LIMIT, MANUAL, Bench, C, settle, timers

JOIN = TaskPolicy(on_duplicate=OnDuplicate.JOIN)
REJECT = TaskPolicy(on_duplicate="reject")
REPLACE = TaskPolicy(on_duplicate="replace")


async def test_by_default_the_same_call_runs_twice(bench: Bench) -> None:
    first, second = bench.start(), bench.start()
    assert {(await bench.answer()).task_id for _ in range(2)} == {first, second}


# -- reject ------------------------------------------------------------------------------------


async def test_reject_names_the_living_twin_and_starts_nothing(bench: Bench) -> None:
    first = bench.start("sleep", {"seconds": 5, "x": 1}, policy=REJECT)
    with pytest.raises(DuplicateTaskError, match=first):
        bench.start("sleep", {"x": 1, "seconds": 5}, policy=REJECT)  # key order is no difference
    assert [task.id for task in bench.handle.list()] == [first]
    other = bench.start("sleep", {"seconds": 6, "x": 1}, policy=REJECT)
    elsewhere = bench.start("sleep", {"seconds": 5, "x": 1}, policy=REJECT, conversation="d")
    assert len({first, other, elsewhere}) == 3


async def test_reject_takes_the_same_call_again_once_the_first_has_ended(bench: Bench) -> None:
    bench.start("quick", policy=REJECT)
    assert (await bench.answer()).status == "succeeded"
    bench.start("quick", policy=REJECT)
    assert (await bench.answer()).status == "succeeded"


# -- replace -----------------------------------------------------------------------------------


async def test_replace_cancels_the_twin_and_both_calls_are_answered(bench: Bench) -> None:
    old = bench.start("sleep", {"seconds": 5}, policy=REPLACE, call_id="old")
    await asyncio.sleep(1)
    new = bench.start("sleep", {"seconds": 5}, policy=REPLACE, call_id="new")
    cancelled, succeeded = await bench.answer(), await bench.answer()
    assert (cancelled.task_id, cancelled.call_ids, cancelled.status) == (old, ("old",), "cancelled")
    assert (succeeded.task_id, succeeded.call_ids, succeeded.status) == (
        new,
        ("new",),
        "succeeded",
    )
    assert await bench.news() == TurnSettled()


async def test_replace_does_not_wait_for_a_twin_that_will_not_stop(bench: Bench) -> None:
    old = bench.start_in_background("stubborn", policy=REPLACE)
    await settle()
    new = bench.start_in_background("stubborn", {}, policy=REPLACE)
    await asyncio.sleep(LIMIT)
    assert [(item.task_id, str(item.status)) for item in bench.pending()] == [
        (old, "cancelled"),
        (new, "succeeded"),
    ]


# -- join --------------------------------------------------------------------------------------


async def test_join_starts_no_second_task_and_each_call_has_its_own_answer(
    bench: Bench,
) -> None:
    first = bench.start("sleep", {"seconds": 5}, policy=JOIN, call_id="a")
    joined = bench.start("sleep", {"seconds": 5}, policy=JOIN, call_id="b")
    assert joined == first
    assert bench.handle.get(first).call_ids == ("a", "b")
    assert (await bench.answer()).call_ids == ("a", "b")
    assert (await bench.news(), bench.pending()) == (TurnSettled(), ())
    await bench.assert_no_leaks()


async def test_calls_of_several_turns_and_the_background_join_one_task(bench: Bench) -> None:
    for call, turn in (("a", "one"), ("b", "two"), ("c", "two")):
        bench.start("sleep", {"seconds": 5}, policy=JOIN, call_id=call, turn=turn)
    task = bench.start_in_background("sleep", {"seconds": 5}, policy=JOIN, call_id="d")
    assert (await bench.answer("one")).call_ids == ("a",)
    assert (await bench.answer("two")).call_ids == ("b", "c")
    [notice] = bench.pending()
    assert notice.call_ids == ("d",)
    assert bench.kinds().count("task_started") == bench.kinds().count("task_succeeded") == 1
    assert bench.kinds()[-1] == "continue_requested"
    bench.manager.ack(C, [task])
    for turn in ("one", "two"):
        assert await bench.news(turn) == TurnSettled()
    await bench.assert_no_leaks()


async def test_a_turn_may_wait_for_a_background_task_that_its_call_joined(bench: Bench) -> None:
    task = bench.start_in_background("sleep", {"seconds": 5}, policy=JOIN, call_id="a")
    launch = TaskLaunch(
        call=ToolCall.make("sleep", {"seconds": 5}, id="b"),
        conversation_id=C,
        turn_id=TurnId("later"),
        policy=JOIN,
    )
    assert await bench.manager.start_task(launch) == Pending(task, launch.route.kind)
    assert (await bench.answer("later")).call_ids == ("b",)
    assert [item.call_ids for item in bench.pending()] == [("a",)]


async def test_a_joined_call_has_a_timer_of_its_own(bench: Bench) -> None:
    bench.start("sleep", {"seconds": 50}, policy=JOIN, call_id="a", turn="one")
    for call, seconds in (("b", 5), ("c", 9)):
        bench.start(
            "sleep",
            {"seconds": 50},
            policy=JOIN,
            call_id=call,
            turn="two",
            route=detach_after(seconds),
        )
    receipt = await bench.news("two")
    assert isinstance(receipt, Detached)
    assert receipt.call_ids == ("b", "c")
    assert await bench.news("two") == TurnSettled()
    assert (await bench.answer("one")).call_ids == ("a",)
    assert [item.call_ids for item in bench.pending()] == [("b", "c")]
    assert timers() == 0


async def test_a_joined_call_that_is_answered_in_time_leaves_no_timer(bench: Bench) -> None:
    for turn in ("one", "two"):
        bench.start("sleep", {"seconds": 1}, policy=JOIN, turn=turn, route=detach_after(60))
    assert (await bench.answer("two")).status == "succeeded"
    assert timers() == 0


async def test_detaching_a_joined_task_gives_every_waiting_call_its_receipt(
    bench: Bench,
) -> None:
    for call, turn in (("a", "one"), ("b", "one"), ("c", "two")):
        task = bench.start(policy=JOIN, call_id=call, turn=turn)
        await settle()
    assert bench.handle.detach(bench.handle.list()[0].id)
    receipts = [await bench.news("one"), await bench.news("two")]
    assert [receipt.call_ids for receipt in receipts if isinstance(receipt, Detached)] == [
        ("a", "b"),
        ("c",),
    ]
    await bench.idle()
    [late] = bench.pending()
    assert (late.task_id, late.call_ids) == (task, ("a", "b", "c"))


async def test_a_task_that_is_stopping_is_joined_by_nobody(bench: Bench) -> None:
    old = bench.start("stubborn", {"seconds": 3}, policy=JOIN)
    await settle()
    bench.handle.task(old).cancel()
    new = bench.start("stubborn", {"seconds": 3}, policy=JOIN)
    assert new != old
    assert [str((await bench.answer()).status) for _ in range(2)] == ["cancelled", "succeeded"]


async def test_arguments_that_are_no_json_have_no_twin(bench: Bench) -> None:
    def launch(arguments: str, call: str, policy: TaskPolicy) -> TaskLaunch:
        made = ToolCall.make("stubborn", id=call)
        broken = ToolCall(made.id, made.name, arguments)
        return TaskLaunch(
            call=broken, conversation_id=ConversationId("c"), turn_id=TurnId("t"), policy=policy
        )

    bench.manager.start_nowait(launch("{broken", "a", JOIN))
    bench.manager.start_nowait(launch("{broken", "b", JOIN))
    bench.manager.start_nowait(launch('{"seconds": 1}', "c", JOIN))
    answers = [await bench.answer() for _ in range(3)]
    assert sorted((*answer.call_ids, str(answer.status)) for answer in answers) == [
        ("a", "failed"),
        ("b", "failed"),
        ("c", "succeeded"),
    ]


# -- ids ---------------------------------------------------------------------------------------


async def test_a_living_id_is_refused(bench: Bench) -> None:
    bench.start(task_id="mine")
    with pytest.raises(DuplicateTaskError, match="mine is alive"):
        bench.start("quick", task_id="mine")
    assert len(bench.handle.list()) == 1


async def test_generated_ids_skip_ids_that_callers_used(bench: Bench) -> None:
    for number in (1, 2):
        bench.start(task_id=f"task-{number}")
    assert bench.start() == "task-3"
    assert [task.id for task in bench.handle.list()] == ["task-1", "task-2", "task-3"]


async def test_an_id_may_be_used_again_as_soon_as_its_end_is_seen(bench: Bench) -> None:
    for value in range(3):
        task = bench.start("quick", {"value": value}, task_id="again")
        assert (await bench.ended(task)).value == value
        assert (await bench.answer()).value == value
    assert len(bench.handle.list()) == 1


async def test_an_id_may_be_used_again_while_abandoned_work_of_it_goes_on(
    bench: Bench,
) -> None:
    old = bench.start_in_background("stubborn", task_id="again", policy=MANUAL)
    await settle()
    await bench.handle.cancel(old, grace=1)
    bench.handle.drain_ready_items()
    new = bench.start_in_background("sleep", {"seconds": 500}, task_id="again")
    await asyncio.sleep(200)
    assert bench.handle.get(new).status is TaskStatus.RUNNING
    assert (await bench.ended(new)).content == "slept"
    await bench.idle()
    assert bench.told("again").count("task_started") == 2
    assert len(bench.pending()) == 1
    bench.manager.ack(C, [new])
    await bench.assert_no_leaks()


async def test_a_route_decides_per_call_who_waits(bench: Bench) -> None:
    waited = await bench.manager.start_task(
        TaskLaunch(call=ToolCall.make("quick"), conversation_id=C, turn_id=TurnId("t"))
    )
    behind = await bench.manager.start_task(
        TaskLaunch(call=ToolCall.make("quick"), conversation_id=C, route=background())
    )
    assert isinstance(waited, Pending)
    assert isinstance(behind, Pending)
    assert (waited.kind, behind.kind) == ("foreground", "background")
