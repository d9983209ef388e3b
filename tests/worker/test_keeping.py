"""What outlives a job: writes to the shared state, finished steps, long outputs."""

import asyncio

import pytest

from sidetask import RunContext, background, tool
from sidetask.core.ids import ConversationId
from sidetask.core.routing import TaskPolicy
from sidetask.stores.base import TEXTS, StateEntry
from sidetask.tasks.values import Completed
from sidetask.testing import VirtualClock
from tests.worker.harness import C, sharing

RETRY = TaskPolicy(idempotent=True, on_crash="retry")


async def test_the_state_is_that_of_the_store_and_writes_go_there_with_their_provenance(
    clock: VirtualClock,
) -> None:
    @tool(route=background())
    async def count(ctx: RunContext[object]) -> object:
        """Count."""
        found = [ctx.state.get(key) for key in ("n", "user:n", "app:n")]
        for key in ("n", "user:n", "app:n"):
            ctx.state.set(key, (ctx.state.get(key, as_type=int) or 0) + 1)
        return found

    async with sharing(clock) as place:
        for key, number in (("n", 1), ("user:n", 2), ("app:n", 3)):
            entry = StateEntry(key=key, value=number, version=1, at=0.0)
            place.store.save_state(C, [entry], user="ana")
        await place.worker(count)
        job = place.enqueue(count, user="ana", run_id="run-7")
        outcome = await place.outcome(job)
        assert isinstance(outcome, Completed)
        assert outcome.value == [1, 2, 3]
        kept = {each.key: each for each in await place.store.load_state(C, user="ana")}
        assert {key: each.value for key, each in kept.items()} == {
            "n": 2,
            "user:n": 3,
            "app:n": 4,
        }
        assert kept["n"].version == 2
        origin = kept["n"].origin
        assert (origin["task_id"], origin["run_id"], origin["source"]) == (
            "task-1",
            "run-7",
            "tool",
        )


async def test_a_later_job_sees_what_was_written_meanwhile_though_another_one_runs(
    clock: VirtualClock,
) -> None:
    go = asyncio.Event()

    @tool(route=background())
    async def look(ctx: RunContext[object], waits: bool) -> object:
        """Look."""
        if waits:
            await go.wait()
        return ctx.state.get("n")

    async with sharing(clock) as place:
        await place.worker(look)
        first = place.enqueue(look, {"waits": True})
        await asyncio.sleep(1)
        place.store.save_state(C, [StateEntry(key="n", value=5, version=9, at=0.0)])
        second = place.enqueue(look, {"waits": False}, task="task-2")
        assert await place.outcome(second) == Completed(5, "5")
        go.set()
        assert await place.outcome(first) == Completed(5, "5")


async def test_conversations_do_not_see_each_others_keys(clock: VirtualClock) -> None:
    @tool(route=background())
    async def swap(ctx: RunContext[object], value: int) -> object:
        """Swap."""
        before = ctx.state.get("n")
        ctx.state.set("n", value)
        await asyncio.sleep(1)
        return [before, ctx.state.get("n")]

    async with sharing(clock) as place:
        await place.worker(swap)
        jobs = [
            place.enqueue(
                swap, {"value": n}, task=f"task-{n}", conversation=ConversationId(f"c{n}")
            )
            for n in range(3)
        ]
        for n, job in enumerate(jobs):
            outcome = await place.outcome(job)
            assert isinstance(outcome, Completed)
            assert outcome.value == [None, n]


async def test_a_long_output_is_kept_under_its_task(clock: VirtualClock) -> None:
    @tool(route=background())
    async def write() -> str:
        """Write."""
        return "word " * 50_000

    async with sharing(clock) as place:
        await place.worker(write)
        outcome = await place.outcome(place.enqueue(write))
        assert isinstance(outcome, Completed)
        assert len(outcome.content) < 100_000
        text = await place.store.get(TEXTS, C, "task-1")
        assert text is not None
        assert len(text.value.text) == 250_000


async def test_steps_of_an_earlier_attempt_are_not_done_again(clock: VirtualClock) -> None:
    did: list[str] = []

    @tool(route=background(), policy=RETRY)
    async def work(ctx: RunContext[object]) -> str:
        """Work."""

        async def step() -> str:
            did.append(f"attempt {ctx.attempt}")
            return "done"

        return await ctx.step("one", step)

    async with sharing(clock) as place:
        await place.worker(work)
        assert await place.outcome(place.enqueue(work)) == Completed("done", "done")
        again = place.enqueue(work, attempt=2)
        assert await place.outcome(again) == Completed("done", "done")
        assert did == ["attempt 1"]


@pytest.mark.parametrize("key", ["n", "user:n", "app:n"])
async def test_a_job_has_not_ended_before_what_it_wrote_is_kept(
    clock: VirtualClock, key: str
) -> None:
    @tool(route=background())
    async def count(ctx: RunContext[object]) -> str:
        """Count."""
        place.store.away = True
        ctx.state.set(key, 7)
        return "counted"

    async with sharing(clock) as place:
        await place.worker(count)
        job = place.enqueue(count, user="ana")
        await asyncio.sleep(3)
        assert (await place.job(job)).status == "running"
        place.store.away = False
        assert await place.outcome(job) == Completed("counted", "counted")
        kept = await place.store.load_state(C, user="ana")
        assert [(each.key, each.value) for each in kept] == [(key, 7)]


async def test_who_is_to_go_before_a_write_is_kept_leaves_the_job_to_others(
    clock: VirtualClock,
) -> None:
    @tool(route=background(), policy=RETRY)
    async def count(ctx: RunContext[object]) -> str:
        """Count."""
        tries.append(1)
        place.store.away = len(tries) == 1
        ctx.state.set("n", len(tries))
        return "counted"

    tries: list[int] = []
    async with sharing(clock) as place:
        first = await place.worker(count)
        job = place.enqueue(count, policy=RETRY, on_crash="retry")
        await asyncio.sleep(3)
        place.membership(first).break_off()
        await asyncio.sleep(3)
        place.store.away = False
        await place.worker(count)
        assert await place.outcome(job) == Completed("counted", "counted")
        assert [each.value for each in await place.store.load_state(C)] == [2]
