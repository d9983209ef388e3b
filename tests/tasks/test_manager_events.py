"""What is told, in which order, and to whom."""

import asyncio
from typing import Any

import pytest

from sidetask.core.errors import InvalidInputError
from sidetask.core.events import (
    Event,
    Lagged,
    TaskCancelled,
    TaskEvent,
    TaskFailed,
    TaskProgressed,
    TaskStarted,
    TaskSucceeded,
)
from sidetask.core.messages import ToolCall
from sidetask.core.routing import TaskPolicy, background, detach_after
from sidetask.tasks.aio.streams import BOUND, Stream, Subscription
from sidetask.tasks.context import RunContext
from sidetask.tasks.values import Completed, ToolOutcome
from sidetask.testing import VirtualClock
from tests.tasks.harness import LIMIT, Bench, C, settle


def ready(subscription: Subscription) -> list[Event | Lagged]:
    """Everything that a subscriber can read now."""
    found: list[Event | Lagged] = []
    while (event := subscription.ready()) is not None:
        found.append(event)
    return found


# -- order -------------------------------------------------------------------------------------


async def test_a_task_exists_before_its_start_is_seen_and_a_host_may_react_at_once(
    bench: Bench,
) -> None:
    seen: list[str] = []

    def react(event: Event) -> None:
        if isinstance(event, TaskStarted):
            seen.append(str(bench.handle.get(event.task_id).status))
            assert bench.handle.task(event.task_id).cancel("at once")

    bench.outbox.everything.tap(react)
    task = bench.start()
    assert (await bench.answer()).status == "cancelled"
    assert seen == ["running"]
    assert bench.told(task) == ["task_queued", "task_started", "task_cancelled"]


async def test_a_host_may_detach_a_task_in_the_very_tick_of_its_start(bench: Bench) -> None:
    def react(event: Event) -> None:
        if isinstance(event, TaskStarted):
            assert bench.handle.detach(event.task_id)

    bench.outbox.everything.tap(react)
    task = bench.start("quick")
    await bench.idle()
    assert bench.told(task) == ["task_queued", "task_started", "task_detached", "task_succeeded"]
    assert [item.task_id for item in bench.pending()] == [task]


@pytest.mark.parametrize("seconds", [4, 5, 6])
async def test_detached_precedes_the_end_whoever_wins_the_race(bench: Bench, seconds: int) -> None:
    tasks = [bench.start("sleep", {"seconds": seconds}, route=detach_after(5)) for _ in range(10)]
    await bench.idle()
    for task in tasks:
        told = bench.told(task)
        assert told in (
            ["task_queued", "task_started", "task_succeeded"],
            ["task_queued", "task_started", "task_detached", "task_succeeded"],
        )
        parked = task in [item.task_id for item in bench.pending()]
        assert parked == ("task_detached" in told)


async def test_an_end_is_told_when_the_work_has_stopped_and_not_before(
    bench: Bench, clock: VirtualClock
) -> None:
    task = bench.start("stubborn", {"seconds": 4})
    await asyncio.sleep(1)
    bench.handle.task(task).cancel()
    await settle()
    assert bench.told(task)[-1] == "task_started"
    await bench.ended(task)
    assert round(clock.time()) == 4
    end = bench.end_of(task)
    assert isinstance(end, TaskCancelled)
    assert (end.reason, end.abandoned, round(end.duration)) == ("cancelled by the host", False, 4)


async def test_facts_are_numbered_without_gaps_and_are_stored(bench: Bench) -> None:
    bench.start("quick")
    bench.start("fail", route=background())
    bench.start_in_background("gated", conversation="other")
    await bench.idle()
    for conversation in ("c", "other"):
        facts = [event for event in bench.events if event.conversation_id == conversation]
        assert [fact.seq for fact in facts] == list(range(1, len(facts) + 1))
        assert list(await bench.store.facts(facts[0].conversation_id)) == facts


async def test_events_carry_where_they_belong(bench: Bench, clock: VirtualClock) -> None:
    task = bench.start("nested", {"depth": 1}, call_id="call-1")
    await bench.idle()
    [start, *_] = bench.of_task(task)
    assert (start.conversation_id, start.turn_id, start.call_id) == ("c", "t", "call-1")
    assert (start.name, start.parent_id, round(clock.now() - start.at)) == ("nested", None, 1)
    [child] = [e for e in bench.events if isinstance(e, TaskSucceeded) and e.task_id != task]
    assert (child.parent_id, child.conversation_id, child.name) == (task, "c", "nested")


# -- progress ----------------------------------------------------------------------------------


async def test_progress_is_told_live_and_shown_in_the_snapshot(clock: VirtualClock) -> None:
    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        for fraction in (0, 0.5, None, 1.0):
            await ctx.progress(fraction, "on the way")
        await asyncio.sleep(1)
        return Completed(None, "")

    bench = Bench(clock, {"tool": tool})
    task = bench.start("tool")
    await settle()
    told = [event for event in bench.events if isinstance(event, TaskProgressed)]
    assert [event.fraction for event in told] == [0, 0.5, None, 1.0]
    assert {event.note for event in told} == {"on the way"}
    assert len({event.id for event in told}) == 4
    progress = bench.handle.get(task).progress
    assert progress is not None
    assert (progress.fraction, progress.note) == (1.0, "on the way")
    assert all(fact.kind != "task_progressed" for fact in await bench.store.facts(C))


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan"), float("inf")])
async def test_progress_out_of_range_is_refused(clock: VirtualClock, fraction: float) -> None:
    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        with pytest.raises(InvalidInputError, match="between 0 and 1"):
            await ctx.progress(fraction)
        return Completed("went on", "went on")

    bench = Bench(clock, {"tool": tool})
    task = bench.start("tool")
    assert (await bench.answer()).content == "went on"
    assert (bench.handle.get(task).progress, "task_progressed" in bench.told(task)) == (None, False)


async def test_progress_of_an_attempt_that_is_over_is_not_told(clock: VirtualClock) -> None:
    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        try:
            await asyncio.sleep(100)
        finally:
            await ctx.progress(0.5, "cleaning up")
        return Completed(None, "")

    bench = Bench(clock, {"tool": tool})
    task = bench.start("tool")
    await settle()
    await bench.handle.cancel(task)
    assert bench.told(task) == ["task_queued", "task_started", "task_cancelled"]


# -- listening ---------------------------------------------------------------------------------


async def test_every_subscriber_sees_every_event_in_order(bench: Bench) -> None:
    subscriptions = [bench.handle.subscribe() for _ in range(3)]
    mine = bench.handle.subscribe(C)
    for conversation in ("c", "d"):
        bench.start("quick", conversation=conversation)
    await bench.idle()
    for subscription in subscriptions:
        assert ready(subscription) == bench.events
    assert ready(mine) == [event for event in bench.events if event.conversation_id == "c"]
    late = bench.handle.subscribe()
    assert ready(late) == []


async def test_a_slow_subscriber_is_told_how_many_it_missed_and_keeps_every_end(
    bench: Bench,
) -> None:
    slow = bench.handle.subscribe()
    for _ in range(800):
        bench.start("quick")
    await bench.idle()
    assert len(bench.events) == 2_400
    told = ready(slow)
    missed = sum(event.missed for event in told if isinstance(event, Lagged))
    seen = [event for event in told if not isinstance(event, Lagged)]
    assert isinstance(told[0], Lagged)
    assert (missed > 0, len(seen) + missed) == (True, 2_400)
    ends = [event for event in seen if isinstance(event, TaskSucceeded)]
    assert sorted(end.task_id for end in ends) == sorted(f"task-{n}" for n in range(1, 801))
    assert [event.seq for event in seen] == sorted(event.seq for event in seen)


async def test_a_subscriber_that_is_far_too_slow_is_told_how_many_ends_it_missed(
    bench: Bench,
) -> None:
    task = bench.start("quick")
    await bench.idle()
    end = next(e for e in bench.events if isinstance(e, TaskSucceeded) and e.task_id == task)
    stream = Stream()
    slow = stream.subscribe()
    for _ in range(5 * BOUND):
        stream.publish(end)
    told = ready(slow)
    assert isinstance(told[0], Lagged)
    seen = len(told) - 1
    assert seen >= BOUND
    assert (told[0].missed, told[0].ended) == (5 * BOUND - seen, 5 * BOUND - seen)


async def test_next_event_begins_with_its_first_call_and_ends_with_the_manager(
    bench: Bench,
) -> None:
    bench.start("quick")
    await bench.idle()
    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
        first = group.create_task(bench.handle.next_event())
        await settle()
        task = bench.start("fail")
    assert isinstance(queued := first.result(), TaskEvent)
    assert (queued.task_id, queued.kind) == (task, "task_queued")
    async with asyncio.timeout(LIMIT):
        assert isinstance(await bench.handle.next_event(), TaskStarted)
        assert isinstance(await bench.handle.next_event(), TaskFailed)
        await bench.handle.close()
        assert await bench.handle.next_event() is None


async def test_a_subscription_that_is_left_hears_nothing_more(bench: Bench) -> None:
    with bench.handle.subscribe() as subscription:
        bench.start("quick")
    await bench.idle()
    assert [event async for event in subscription] == []


async def test_a_failure_is_told_with_its_type(bench: Bench) -> None:
    task = bench.start("fail", policy=TaskPolicy(timeout=5))
    await bench.idle()
    end = bench.end_of(task)
    assert isinstance(end, TaskFailed)
    assert (end.error_type, "no luck" in end.error) == ("ToolError", True)
