"""Who hears of an end: the conversation, its host, or the task that read it first."""

import asyncio

import pytest

from sidetask.core.errors import (
    ConfigurationError,
    InvalidInputError,
    TaskNotFoundError,
    TooManyTasksError,
)
from sidetask.core.events import ContinueRequested, Event, TaskEnded
from sidetask.core.ids import CallId, TaskId
from sidetask.core.routing import OnComplete, TaskPolicy, background, detach_after
from sidetask.tasks.parts.permits import Limits
from sidetask.tasks.values import Detached, LoopUpdates, Resolution, TurnSettled
from sidetask.testing import VirtualClock
from tests.tasks.harness import MANUAL, Bench, C, T, settle

NOTIFY = TaskPolicy(on_complete="notify")


def continues(bench: Bench) -> list[tuple[TaskId, ...]]:
    return [event.task_ids for event in bench.events if isinstance(event, ContinueRequested)]


async def finished(bench: Bench, policy: TaskPolicy, seconds: float = 1) -> TaskId:
    """A background task that has ended and was not taken."""
    task = bench.start_in_background("sleep", {"seconds": seconds}, policy=policy)
    await bench.ended(task)
    return task


# -- to the loop -------------------------------------------------------------------------------


async def test_background_results_come_in_completion_order_until_they_are_acknowledged(
    bench: Bench,
) -> None:
    slow = bench.start_in_background("sleep", {"seconds": 3})
    quick = bench.start_in_background("sleep", {"seconds": 1})
    await bench.idle()
    assert bench.manager.take_pending_loop_updates(C).ids == (quick, slow)
    assert bench.manager.take_pending_loop_updates(C).ids == (quick, slow)  # after a crash, say
    bench.manager.ack(C, [quick])
    assert bench.manager.take_pending_loop_updates(C).ids == (slow,)
    bench.manager.ack(C, [slow, TaskId("unknown")])
    assert bench.manager.take_pending_loop_updates(C) == LoopUpdates(())
    await bench.assert_no_leaks()


async def test_a_detached_call_is_answered_by_a_receipt_and_later_by_one_notification(
    bench: Bench,
) -> None:
    task = bench.start("sleep", {"seconds": 9}, route=detach_after(5), call_id="call-1")
    assert await bench.news() == Detached(task, (CallId("call-1"),), "sleep")
    assert bench.pending() == ()
    await bench.idle()
    [late] = bench.pending()
    assert (late.task_id, late.call_ids, late.content) == (task, ("call-1",), "slept")
    assert continues(bench) == [(task,)]


@pytest.mark.parametrize(
    ("on_complete", "asks"),
    [(None, True), ("continue", True), (OnComplete.INTERRUPT, True), ("notify", False)],
)
async def test_the_end_of_a_background_task_asks_to_continue_unless_it_only_notifies(
    bench: Bench, on_complete: OnComplete | None, asks: bool
) -> None:
    policy = TaskPolicy() if on_complete is None else TaskPolicy(on_complete=on_complete)
    task = await finished(bench, policy)
    assert continues(bench) == ([(task,)] if asks else [])
    assert bench.manager.wants_turn(C) == ((task,) if asks else ())
    assert bench.pending()[0].on_complete is OnComplete(on_complete or "continue")


async def test_a_foreground_end_never_asks_to_continue(bench: Bench) -> None:
    bench.start("quick")
    assert (await bench.answer()).status == "succeeded"
    assert (continues(bench), bench.pending()) == ([], ())


async def test_only_what_was_taken_can_be_acknowledged(bench: Bench) -> None:
    """A call may be answered before another call's result, of the same task, is taken."""
    task = await finished(bench, TaskPolicy())
    bench.manager.ack(C, [task])
    assert [item.task_id for item in bench.pending()] == [task]


# -- to the host -------------------------------------------------------------------------------


async def test_manual_results_go_to_the_host_once_and_never_ask_to_continue(
    bench: Bench,
) -> None:
    task = await finished(bench, MANUAL)
    assert (bench.pending(), continues(bench), bench.manager.wants_turn(C)) == ((), [], ())
    [item] = bench.handle.drain_ready_items(C)
    assert isinstance(item, Resolution)
    assert item.task_id == task
    assert bench.handle.drain_ready_items(C) == []
    await bench.assert_no_leaks()


async def test_a_reused_id_goes_to_where_its_new_task_says(bench: Bench) -> None:
    bench.start_in_background("quick", policy=MANUAL)
    bench.start_in_background("quick", policy=MANUAL, task_id="again")
    await bench.idle()
    items = bench.handle.drain_ready_items(ack=False)
    bench.handle.ack([item for item in items if item == bench.record(TaskId("again")).resolution])
    bench.start_in_background("quick", task_id="again")
    await bench.idle()
    assert [item.task_id for item in bench.pending()] == ["again"]


async def test_a_host_that_acknowledges_by_itself_is_given_items_again_until_it_does(
    bench: Bench,
) -> None:
    await finished(bench, MANUAL)
    bench.start_in_background("asking", policy=MANUAL)
    await settle()
    items = bench.handle.drain_ready_items(ack=False)
    assert len(items) == 2
    assert bench.handle.drain_ready_items(ack=False) == items
    bench.handle.ack(items)
    assert bench.handle.drain_ready_items() == []


async def test_a_host_drains_no_questions_and_no_results_of_the_loop(bench: Bench) -> None:
    asks = bench.start_in_background("asking")
    quick = bench.start_in_background("quick")
    await bench.ended(quick)
    assert [each.task_id for each in bench.handle.approvals()] == [asks]
    assert bench.handle.drain_ready_items() == []
    assert [each.task_id for each in bench.pending()] == [quick]
    bench.handle.set_delivery_mode(asks, "manual")
    assert [each.task_id for each in bench.handle.drain_ready_items()] == [asks]


async def test_draining_one_conversation_leaves_the_others_alone(bench: Bench) -> None:
    for conversation in ("c", "d"):
        bench.start_in_background("quick", conversation=conversation, policy=MANUAL)
        bench.start_in_background("asking", conversation=conversation, policy=MANUAL)
    await bench.idle()
    assert {item.conversation_id for item in bench.handle.drain_ready_items(C)} == {"c"}
    assert len(bench.handle.drain_ready_items()) == 2


# -- changing one's mind -----------------------------------------------------------------------


async def test_delivery_can_be_changed_while_a_task_runs(bench: Bench) -> None:
    task = bench.start_in_background()
    await settle()
    bench.handle.set_delivery_mode(task, "manual")
    bench.handle.set_on_complete(task, "notify")
    await bench.idle()
    assert bench.pending() == ()
    [item] = bench.handle.drain_ready_items()
    assert isinstance(item, Resolution)
    assert item.on_complete is OnComplete.NOTIFY


async def test_a_parked_result_that_is_sent_to_the_loop_asks_to_continue(bench: Bench) -> None:
    task = await finished(bench, MANUAL)
    bench.handle.set_delivery_mode(task, "to_loop")
    assert [item.task_id for item in bench.pending()] == [task]
    assert continues(bench) == [(task,)]
    assert bench.handle.drain_ready_items() == []


async def test_a_notification_that_should_continue_after_all_asks_to(bench: Bench) -> None:
    task = await finished(bench, NOTIFY)
    bench.handle.set_continue_policy(task, "continue")
    assert continues(bench) == [(task,)]
    assert bench.manager.wants_turn(C) == (task,)
    bench.handle.set_on_complete(task, OnComplete.NOTIFY)
    assert bench.manager.wants_turn(C) == ()


async def test_a_changed_result_keeps_its_place_in_completion_order(bench: Bench) -> None:
    first = await finished(bench, NOTIFY)
    second = await finished(bench, NOTIFY)
    bench.handle.set_on_complete(first, "continue")
    assert bench.manager.take_pending_loop_updates(C).ids == (first, second)
    bench.handle.set_delivery_mode(first, "manual")
    bench.handle.set_delivery_mode(first, "to_loop")
    assert bench.manager.take_pending_loop_updates(C).ids == (first, second)


async def test_a_delivered_result_cannot_be_redirected(bench: Bench) -> None:
    task = await finished(bench, TaskPolicy())
    assert len(bench.pending()) == 1
    bench.manager.ack(C, [task])
    with pytest.raises(InvalidInputError, match="delivered already"):
        bench.handle.set_on_complete(task, "notify")
    with pytest.raises(InvalidInputError, match="delivered already"):
        bench.handle.set_delivery_mode(task, "manual")


async def test_unknown_words_and_tasks_are_refused_in_plain_text(bench: Bench) -> None:
    task = await finished(bench, TaskPolicy())
    with pytest.raises(ConfigurationError, match="'continue', 'notify', 'interrupt'"):
        bench.handle.set_on_complete(task, "later")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigurationError, match="'to_loop', 'manual'"):
        bench.handle.set_delivery_mode(task, "loop")  # pyright: ignore[reportArgumentType]
    with pytest.raises(TaskNotFoundError, match="no task 'nobody'"):
        bench.handle.set_on_complete("nobody", "notify")


# -- order -------------------------------------------------------------------------------------


async def test_a_result_is_to_be_had_when_its_end_is_seen(bench: Bench) -> None:
    seen: list[object] = []

    def look(event: Event) -> None:
        if isinstance(event, TaskEnded):
            manual = bench.handle.drain_ready_items(ack=False)
            held = [*bench.pending(), *(item for item in manual if isinstance(item, Resolution))]
            seen.append([item.task_id for item in held])

    bench.outbox.everything.tap(look)
    first = await finished(bench, TaskPolicy())
    second = await finished(bench, MANUAL)
    assert seen == [[first], [first, second]]


async def test_the_end_precedes_its_request_to_continue(bench: Bench) -> None:
    task = await finished(bench, TaskPolicy())
    kinds = bench.kinds()
    assert kinds[-2:] == ["task_succeeded", "continue_requested"]
    assert bench.events[-1].seq == bench.end_of(task).seq + 1


async def test_when_idle_is_told_every_result_is_to_be_had(bench: Bench) -> None:
    for seconds in (1, 2, 3):
        bench.start_in_background("sleep", {"seconds": seconds})
    bench.start_in_background("asking")
    idle = await bench.handle.wait_for_idle()
    assert (idle.undelivered, idle.approvals, len(bench.pending())) == (3, 1, 3)


# -- read by another task ----------------------------------------------------------------------


async def test_a_result_that_a_task_has_read_is_not_delivered_again(bench: Bench) -> None:
    task = await finished(bench, TaskPolicy())
    reader = bench.start("sleep", {"seconds": 1})
    assert bench.manager.claim(C, task, reader).content == "slept"
    assert (bench.pending(), bench.manager.wants_turn(C)) == ((), ())
    assert (await bench.answer()).task_id == reader
    assert await bench.news() == TurnSettled()
    bench.manager.ack(C, [reader])
    assert bench.pending() == ()
    await bench.assert_no_leaks()


async def test_a_result_whose_reader_fails_is_delivered_after_all(bench: Bench) -> None:
    task = await finished(bench, TaskPolicy())
    reader = bench.start("sleep")
    await settle()
    bench.manager.claim(C, task, reader)
    await bench.handle.cancel(reader)
    assert [item.task_id for item in bench.pending()] == [task]


# -- bounds ------------------------------------------------------------------------------------


async def test_a_background_launch_beyond_the_untaken_results_is_refused(
    clock: VirtualClock,
) -> None:
    bench = Bench(clock, limits=Limits(undelivered=2))
    for _ in range(2):
        bench.start_in_background("quick")
    await bench.idle()
    with pytest.raises(TooManyTasksError, match="the limit is 2"):
        bench.start_in_background("quick")
    bench.start("quick")  # whose turn waits: it parks nothing
    bench.start_in_background("quick", conversation="other")
    bench.manager.ack(C, bench.manager.take_pending_loop_updates(C).ids)
    bench.start_in_background("quick")
    await bench.idle()


async def test_a_reused_task_id_does_not_swallow_a_result_that_was_not_taken(
    bench: Bench,
) -> None:
    for value in (1, 2):
        task = bench.start_in_background(
            "quick", {"value": value}, task_id="again", call_id=f"call-{value}"
        )
        await bench.ended(task)
        [item] = bench.pending()
        assert (item.value, item.call_ids) == (value, (f"call-{value}",))
        bench.manager.ack(C, [task])


async def test_a_task_id_whose_result_was_not_taken_is_refused(bench: Bench) -> None:
    bench.start_in_background("quick", task_id="mine")
    await bench.idle()
    with pytest.raises(Exception, match="mine is alive already: its result"):
        bench.start("quick", task_id="mine", route=background())
    assert len(bench.pending()) == 1


async def test_waits_that_are_given_up_leave_nothing_behind(bench: Bench) -> None:
    task = bench.start()
    await settle()
    subscription = bench.handle.subscribe()
    for wait in (bench.news, lambda: bench.ended(task), bench.idle, lambda: anext(subscription)):
        for _ in range(50):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await wait()
    parts = bench.parts
    sleepers = (
        parts.mailbox._turns[C, T].waiters,
        parts.ledger.records.get(task).listeners,
        parts.delivery._idle[None],
        parts.outbox.everything._asleep,
    )
    assert [len(waiters) for waiters in sleepers] == [0, 0, 0, 0]
