"""A worker takes jobs, carries them out, and says what became of them."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from sidetask import RunContext, background, tool
from sidetask.core.errors import StoreRefusedError, StoreUnavailableError
from sidetask.core.routing import TaskPolicy
from sidetask.stores.queue import StoredJob
from sidetask.tasks.remote.values import Granted
from sidetask.tasks.values import ApprovalNeeded, Completed, Errored
from sidetask.testing import VirtualClock
from tests.worker.harness import LIMIT, C, settle, sharing

RETRY = TaskPolicy(idempotent=True, on_crash="retry")


@tool(route=background())
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


async def test_a_job_is_carried_out_and_its_outcome_is_in_the_queue(clock: VirtualClock) -> None:
    async with sharing(clock) as place:
        await place.worker(add)
        job = place.enqueue(add, {"a": 1, "b": 2})
        assert await place.outcome(job) == Completed(3, "3")


async def test_what_was_queued_before_it_came_is_carried_out_at_once(clock: VirtualClock) -> None:
    async with sharing(clock) as place:
        job = place.enqueue(add, {"a": 1, "b": 2})
        began = clock.now()
        await place.worker(add)
        await place.over(job)
        assert clock.now() - began < 0.1


async def test_a_tool_sees_what_it_would_see_at_home(clock: VirtualClock) -> None:
    seen: dict[str, Any] = {}

    @tool(route=background())
    async def look(ctx: RunContext[str]) -> str:
        seen.update(
            deps=ctx.deps,
            conversation=ctx.conversation_id,
            turn=ctx.turn_id,
            run=ctx.run_id,
            task=ctx.task_id,
            attempt=ctx.attempt,
            key=ctx.idempotency_key,
            approved=ctx.is_approved("tool", "digest"),
            refused=ctx.is_approved("tool", "other"),
        )
        return "ok"

    async def deps() -> str:
        return "made"

    async with sharing(clock) as place:
        await place.worker(look, runtime={"deps": deps})
        job = place.enqueue(
            look,
            attempt=2,
            turn_id="turn-3",
            run_id="run-4",
            approved=(Granted("tool", "digest"),),
        )
        await place.over(job)
    assert seen == {
        "deps": "made",
        "conversation": C,
        "turn": "turn-3",
        "run": "run-4",
        "task": "task-1",
        "attempt": 2,
        "key": "task-1:call-of-task-1",
        "approved": True,
        "refused": False,
    }


async def test_a_tool_that_fails_is_told_in_its_words(clock: VirtualClock) -> None:
    @tool(route=background())
    async def fail() -> None:
        """Fail."""
        raise ValueError("no luck")

    async with sharing(clock) as place:
        await place.worker(fail)
        assert await place.outcome(place.enqueue(fail)) == Errored(
            "ValueError: no luck", "ValueError"
        )


async def test_a_tool_that_asks_first_says_so_and_nothing_has_happened(
    clock: VirtualClock,
) -> None:
    ran: list[str] = []

    @tool(route=background(), approval="ask")
    async def send() -> str:
        """Send."""
        ran.append("sent")
        return "sent"

    async with sharing(clock) as place:
        worker = await place.worker(send)
        outcome = await place.outcome(place.enqueue(send))
        assert isinstance(outcome, ApprovalNeeded)
        assert ran == []
        assert worker.counters.ends["asked"] == 1


async def test_a_synchronous_tool_runs_on_a_thread(clock: VirtualClock) -> None:
    @tool(route=background())
    def count(to: int) -> int:
        """Count."""
        return sum(range(to))

    async with sharing(clock) as place:
        await place.worker(count)
        assert await place.outcome(place.enqueue(count, {"to": 10})) == Completed(45, "45")


async def test_no_more_are_at_work_than_may_and_the_oldest_come_first(clock: VirtualClock) -> None:
    began: list[int] = []
    go = asyncio.Semaphore(0)

    @tool(route=background())
    async def work(number: int) -> None:
        """Work."""
        began.append(number)
        await go.acquire()

    async with sharing(clock) as place:
        worker = await place.worker(work, concurrency=2)
        jobs = [place.enqueue(work, {"number": n}, task=f"task-{n}") for n in range(5)]
        await settle()
        assert sorted(began) == [0, 1]
        assert worker.gauges.running == 2
        go.release()
        await settle()
        assert sorted(began) == [0, 1, 2]
        for _ in range(4):
            go.release()
        for job in jobs:
            await place.over(job)
        assert sorted(began) == [0, 1, 2, 3, 4]


async def test_progress_is_noted_twice_a_second_and_the_last_one_always(
    clock: VirtualClock,
) -> None:
    noted: list[float] = []

    @tool(route=background())
    async def work(ctx: RunContext[object]) -> None:
        """Work."""
        for step in range(100):
            await ctx.progress(step / 100, f"step {step}")
            await asyncio.sleep(0.01)

    async with sharing(clock) as place:
        note = place.store.queue.note

        def spy(job_id: str, owner: str, progress: Any) -> None:
            noted.append(progress["fraction"])
            note(job_id, owner, progress)

        place.store.queue.note = spy  # pyright: ignore[reportAttributeAccessIssue]
        await place.worker(work)
        job = await place.over(place.enqueue(work))
        assert len(noted) <= 4
        assert noted[-1] == 0.99
        assert job.progress is not None
        assert job.progress["note"] == "step 99"


async def test_what_is_cancelled_by_another_process_hears_it_at_once(clock: VirtualClock) -> None:
    heard: list[str] = []

    @tool(route=background())
    async def wait(ctx: RunContext[object]) -> None:
        """Wait."""
        try:
            await asyncio.sleep(1000)
        finally:
            heard.append(ctx.cancelled.reason)

    async with sharing(clock) as place:
        worker = await place.worker(wait)
        job = place.enqueue(wait)
        await settle()
        began = clock.now()
        await place.store.queue.cancel(job, "not wanted")
        outcome = await place.outcome(job)
        assert clock.now() - began < 0.1
        assert heard == ["not wanted"]
        assert outcome == Errored("The call was cancelled: not wanted.", "TaskCancelled")
        assert worker.counters.ends["cancelled"] == 1


async def test_who_does_not_stop_is_given_up_within_its_grace_and_keeps_its_room(
    clock: VirtualClock,
) -> None:
    @tool(route=background(), policy=TaskPolicy(grace=2))
    async def stubborn() -> str:
        """Stay."""
        until = asyncio.get_running_loop().time() + 20
        while (left := until - asyncio.get_running_loop().time()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                continue
        return "late"

    async with sharing(clock) as place:
        worker = await place.worker(stubborn, concurrency=1)
        job = place.enqueue(stubborn)
        await settle()
        began = clock.now()
        await place.store.queue.cancel(job)
        outcome = await place.outcome(job)
        assert 2 <= clock.now() - began < 2.5
        assert isinstance(outcome, Errored)
        assert worker.gauges.running == 1
        await settle(20)
        assert worker.gauges.running == 0


async def test_a_timeout_ends_it_though_its_home_is_gone(clock: VirtualClock) -> None:
    @tool(route=background(), policy=TaskPolicy(timeout=3))
    async def wait() -> None:
        """Wait."""
        await asyncio.sleep(1000)

    async with sharing(clock) as place:
        worker = await place.worker(wait)
        outcome = await place.outcome(place.enqueue(wait))
        assert outcome == Errored("The call timed out after 3 s.", "TaskTimedOut")
        assert worker.counters.ends["timed_out"] == 1


@tool(route=background())
async def linger() -> None:
    """Take long."""
    await asyncio.sleep(1000)


async def test_a_cancel_is_heard_that_comes_before_the_answer_to_the_claim(
    clock: VirtualClock,
) -> None:
    async with sharing(clock) as place:

        async def cancel(found: Sequence[StoredJob]) -> None:
            await place.store.queue.cancel(found[0].id)
            await settle()  # all has been heard

        place.store.lasting.before_answer = cancel
        await place.worker(linger)
        began = clock.now()
        assert isinstance(await place.outcome(place.enqueue(linger)), Errored)
        assert clock.now() - began < 1


async def test_a_claim_whose_answer_is_lost_is_given_back(clock: VirtualClock) -> None:
    async with sharing(clock) as place:

        async def lose(found: Sequence[StoredJob]) -> None:
            raise StoreUnavailableError("the connection broke", "it is tried again")

        place.store.lasting.before_answer = lose
        await place.worker(add)
        job = place.enqueue(add, {"a": 1, "b": 2})
        assert await place.outcome(job) == Completed(3, "3")
        assert (await place.job(job)).claims == 1


async def test_a_cancel_whose_hint_is_lost_is_found_by_a_later_look(clock: VirtualClock) -> None:
    async with sharing(clock) as place:
        await place.worker(linger)
        jobs = [place.enqueue(linger, task=f"task-{n}") for n in range(2)]
        await settle()
        place.store.lasting.deafen()
        await place.store.queue.cancel(jobs[0])
        began = clock.now()
        assert isinstance(await place.outcome(jobs[0]), Errored)
        assert clock.now() - began < 10
        assert (await place.job(jobs[1])).status == "running"


async def test_a_claim_whose_answer_is_lost_at_the_end_is_given_back(clock: VirtualClock) -> None:
    async with sharing(clock) as place:
        worker = await place.worker(linger)

        async def lose(found: Sequence[StoredJob]) -> None:
            worker.drain()
            raise StoreUnavailableError("the connection broke", "it is tried again")

        place.store.lasting.before_answer = lose
        job = place.enqueue(linger)
        await place.ended(worker)
        assert ((await place.job(job)).status, (await place.job(job)).claims) == ("queued", 0)


async def test_a_worker_that_is_cancelled_while_it_claims_begins_nothing(
    clock: VirtualClock,
) -> None:
    async with sharing(clock) as place:
        asked = asyncio.Event()

        async def answer_late(found: Sequence[StoredJob]) -> None:
            asked.set()
            with suppress(asyncio.CancelledError):  # a database has done it all the same
                await asyncio.sleep(3)

        place.store.lasting.before_answer = answer_late
        await place.worker(linger)
        job = place.enqueue(linger)
        await asked.wait()
        [(_, running)] = place.workers
        place.workers.clear()
        running.cancel()
        await asyncio.wait({running}, timeout=LIMIT)
        assert running.cancelled()
        assert ((await place.job(job)).status, (await place.job(job)).claims) == ("queued", 0)


async def test_a_fault_of_its_own_ends_a_worker_and_hands_back_what_it_has(
    clock: VirtualClock,
) -> None:
    async with sharing(clock) as place:
        worker = await place.worker(linger)
        job = place.enqueue(linger, on_crash="retry")
        await settle()

        async def fail(found: Sequence[StoredJob]) -> None:
            raise ZeroDivisionError

        place.store.lasting.before_answer = fail
        place.enqueue(linger, task="task-2")
        with pytest.raises(ZeroDivisionError):
            await place.ended(worker)
        place.workers.clear()
        assert (await place.job(job)).status == "queued"


async def test_what_a_store_does_not_take_now_is_said_when_it_does(clock: VirtualClock) -> None:
    async with sharing(clock) as place:
        finish, tries = place.store.queue.finish, 0

        async def refuse(*args: Any) -> bool:
            nonlocal tries
            tries += 1
            if tries < 4:
                raise StoreUnavailableError("the disk is full", "make room")
            return await finish(*args)

        place.store.queue.finish = refuse  # pyright: ignore[reportAttributeAccessIssue]
        await place.worker(add)
        assert await place.outcome(place.enqueue(add, {"a": 1, "b": 2})) == Completed(3, "3")
        assert tries == 4


async def test_a_result_that_no_store_takes_is_an_error_for_the_model(clock: VirtualClock) -> None:
    async with sharing(clock) as place:
        finish = place.store.queue.finish

        async def refuse(job_id: str, owner: str, result: Any) -> bool:
            if result["type"] == "completed":
                raise StoreRefusedError("c", "too big")
            return await finish(job_id, owner, result)

        place.store.queue.finish = refuse  # pyright: ignore[reportAttributeAccessIssue]
        await place.worker(add)
        outcome = await place.outcome(place.enqueue(add, {"a": 1, "b": 2}))
        assert isinstance(outcome, Errored)
        assert "the result cannot be stored" in outcome.error
