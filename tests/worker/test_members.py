"""Workers beside each other: one that dies, one that goes, one that is of another release."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from sidetask import Agent, RunContext, Runtime, background, tool
from sidetask.core.errors import ConfigurationError, TaskFencedError
from sidetask.core.jsons import JsonObject
from sidetask.core.routing import TaskPolicy
from sidetask.stores.queue import LOST, NewJob, StoredJob
from sidetask.tasks.values import Completed
from sidetask.testing import ScriptedModel, VirtualClock, ignores_cancellation
from sidetask.worker import Worker
from sidetask.worker.peers import LOOKED_THROUGH
from tests.worker.harness import FakeMembership, settle, sharing


def new_job(like: StoredJob, id: str, data: JsonObject) -> NewJob:
    return NewJob(
        id=id,
        conversation_id=like.conversation_id,
        task_id=like.task_id,
        key=like.key,
        fingerprint=like.fingerprint,
        on_crash=like.on_crash,
        at=like.at,
        data=data,
    )


RETRY = TaskPolicy(idempotent=True, on_crash="retry")


class Tools:
    """A tool in steps that waits in its second one, and one that must not run twice."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.keys: list[str] = []
        self.go = asyncio.Event()

        @tool(route=background(), policy=RETRY)
        async def work(ctx: RunContext[object], name: str = "") -> str:
            """Work."""
            self.keys.append(ctx.idempotency_key)
            await ctx.step("one", self.step, f"{name}1")
            await ctx.step("two", self.wait, f"{name}2")
            return "worked"

        @tool(route=background())
        async def pay() -> str:
            """Pay."""
            await self.wait("paid")
            return "paid"

        self.work, self.pay = work, pay

    async def step(self, word: str) -> str:
        self.did.append(word)
        return word

    async def wait(self, word: str) -> str:
        self.did.append(word)
        await self.go.wait()
        return word


async def test_jobs_of_a_dead_worker_go_on_elsewhere_within_a_second(clock: VirtualClock) -> None:
    tools = Tools()
    async with sharing(clock) as place:
        first = await place.worker(tools.work, tools.pay)
        work = place.enqueue(tools.work, on_crash="retry")
        paying = place.enqueue(tools.pay, task="task-2")
        await settle()
        await place.worker(tools.work, tools.pay)
        await settle(1)
        died = clock.now()
        place.membership(first).die()
        assert (await place.over(paying)).result == LOST
        while (await place.job(work)).claims < 2:
            await settle(0.01)
        assert clock.now() - died < 0.5
        await settle()
        tools.go.set()
        assert await place.outcome(work) == Completed("worked", "worked")
        assert sorted(tools.did) == ["1", "2", "2", "paid"], "what is finished does not run again"
        assert tools.keys == ["task-1:call-of-task-1"] * 2, "a service sees one key"


async def test_a_job_that_workers_die_of_is_parked_and_others_go_on(clock: VirtualClock) -> None:
    tools = Tools()
    async with sharing(clock) as place:
        poison = place.enqueue(tools.work, {"name": "poison"}, on_crash="retry")
        for _ in range(3):
            victim = await place.worker(tools.work, retries=3)
            await settle(2)
            place.membership(victim).die()
        survivor = await place.worker(tools.work, retries=3)
        job = await place.over(poison)
        assert (job.status, job.claims) == ("parked", 3)
        assert survivor.counters.parked == 1
        tools.go.set()
        other = place.enqueue(tools.work, task="task-2")
        assert await place.outcome(other) == Completed("worked", "worked")


async def test_what_ran_beside_it_is_not_parked_with_it(clock: VirtualClock) -> None:
    did: list[int] = []

    async with sharing(clock) as place:
        poisoned: list[FakeMembership] = []

        @tool(route=background(), policy=RETRY)
        async def work(number: int) -> str:
            """Work, and die of the third."""
            did.append(number)
            await asyncio.sleep(1)
            if number == 2:
                poisoned[-1].die()
                await asyncio.sleep(1000)
            return "worked"

        jobs = [
            place.enqueue(work, {"number": n}, task=f"task-{n}", on_crash="retry") for n in range(5)
        ]
        for _ in range(5):
            poisoned.append(place.membership(await place.worker(work)))
            await settle(20)
        ends = [await place.over(job) for job in jobs]
    assert [job.status for job in ends] == ["ended", "ended", "parked", "ended", "ended"]


async def test_what_cannot_even_begin_is_parked_and_blocks_nobody(clock: VirtualClock) -> None:
    tools = Tools()
    tools.go.set()

    def deps() -> object:
        raise RuntimeError("no database here")

    async with sharing(clock) as place:
        worker = await place.worker(tools.work, runtime={"deps": deps}, concurrency=1)
        jobs = [place.enqueue(tools.work, task=f"task-{n}") for n in range(3)]
        for each in jobs:
            job = await place.over(each)
            assert job.status == "parked"
            assert job.error == "RuntimeError: no database here"
        assert worker.counters.parked == 3


async def test_a_row_that_cannot_be_read_is_parked(clock: VirtualClock) -> None:
    tools = Tools()
    tools.go.set()
    async with sharing(clock) as place:
        await place.worker(tools.work)
        good = place.enqueue(tools.work)
        order = (await place.job(good)).data
        place.put(new_job(await place.job(good), "bad", {**order, "call": "nonsense"}))
        assert (await place.over("bad")).status == "parked"
        assert await place.outcome(good) == Completed("worked", "worked")


async def test_a_tool_that_it_does_not_know_is_left_to_who_does(clock: VirtualClock) -> None:
    tools = Tools()
    tools.go.set()
    async with sharing(clock) as place:
        await place.worker(tools.pay)
        job = place.enqueue(tools.work)
        await settle(10)
        assert (await place.job(job)).status == "queued"
        await place.worker(tools.work)
        assert await place.outcome(job) == Completed("worked", "worked")


async def test_two_releases_side_by_side_each_do_their_own(clock: VirtualClock) -> None:
    done: list[str] = []

    @tool(name="work", route=background())
    async def old(number: int) -> None:
        """Work."""
        done.append(f"old {number}")

    @tool(name="work", route=background())
    async def new(number: int, how: str = "well") -> None:
        """Work."""
        done.append(f"new {number}")

    async with sharing(clock) as place:
        before = await place.worker(old)
        await place.worker(new)
        await settle(2)
        for n in range(6):
            place.enqueue((old, new)[n % 2], {"number": n}, task=f"task-{n}")
        await settle(2)
        assert sorted(done) == ["new 1", "new 3", "new 5", "old 0", "old 2", "old 4"]
        place.membership(before).die()
        await settle(2)
        job = place.enqueue(old, {"number": 7}, task="task-7")
        await place.over(job)
        assert done[-1] == "new 7", "nobody has the old one any more"


async def test_who_has_just_come_leaves_what_another_release_has_room_for_later(
    clock: VirtualClock,
) -> None:
    tools, done = Tools(), list[str]()

    @tool(name="work", route=background())
    async def new(how: str) -> None:
        """Work."""
        done.append(how)

    async with sharing(clock) as place:
        await place.worker(tools.work, concurrency=1)
        jobs = [place.enqueue(tools.work, task=f"task-{n}") for n in range(3)]
        await settle()
        await place.worker(new)
        await settle(2)
        assert done == []
        assert [(await place.job(job)).status for job in jobs] == ["running", "queued", "queued"]
        tools.go.set()
        assert [await place.outcome(job) for job in jobs] == [Completed("worked", "worked")] * 3


async def test_jobs_that_nobody_knows_keep_none_of_two_releases_from_its_own(
    clock: VirtualClock,
) -> None:
    tools = Tools()

    @tool(name="work", route=background())
    async def new(how: str) -> None:
        """Work."""

    async with sharing(clock) as place:
        await place.worker(tools.work)
        worker = await place.worker(new)
        await settle(2)
        first = await place.job(place.enqueue(tools.work, task="gone-0", fingerprint="x"))
        for n in range(LOOKED_THROUGH):
            place.put(replace(new_job(first, f"gone-{n}:2", {}), key="gone/tool"))
        assert await place.over(place.enqueue(new, {"how": "so"}, task="task-1"))
        assert await worker.queued() in (0, 1), "it counts what it could take"


async def test_who_drains_ends_what_runs_and_takes_no_more(clock: VirtualClock) -> None:
    tools = Tools()
    async with sharing(clock) as place:
        worker = await place.worker(tools.work, grace=30)
        running = place.enqueue(tools.work)
        await settle()
        worker.drain()
        late = place.enqueue(tools.work, task="task-2")
        await settle(20)
        assert place.membership(worker).member.draining
        tools.go.set()
        await place.ended(worker)
        assert await place.outcome(running) == Completed("worked", "worked")
        assert (await place.job(late)).status == "queued"
        assert not worker.lost


async def test_what_does_not_end_in_its_grace_is_handed_back_or_lost(clock: VirtualClock) -> None:
    tools = Tools()
    async with sharing(clock) as place:
        worker = await place.worker(tools.work, tools.pay, grace=5)
        work = place.enqueue(tools.work, on_crash="retry")
        paying = place.enqueue(tools.pay, task="task-2")
        await settle()
        began = clock.now()
        worker.drain()
        await place.ended(worker)
        assert 5 <= clock.now() - began < 6
        job = await place.job(work)
        assert (job.status, job.claims, job.owner) == ("queued", 0, None)
        assert (await place.job(paying)).result == LOST, "nobody knows how far it got"
        assert worker.counters.ends["handed_back"] == 1
        assert worker.counters.ends["lost"] == 1


async def test_a_second_word_ends_it_at_once(clock: VirtualClock) -> None:
    tools = Tools()
    async with sharing(clock) as place:
        worker = await place.worker(tools.work, grace=1000)
        work = place.enqueue(tools.work, on_crash="retry")
        await settle()
        began = clock.now()
        worker.drain()
        await settle(1)
        worker.drain()
        await place.ended(worker)
        assert clock.now() - began < 1.5
        assert (await place.job(work)).status == "queued"


async def test_what_does_not_stop_at_once_is_left_and_counted(clock: VirtualClock) -> None:
    @tool(route=background())
    async def deaf() -> None:
        """Hear nothing."""
        await ignores_cancellation(20)

    async with sharing(clock) as place:
        worker = await place.worker(deaf)
        job = place.enqueue(deaf)
        await settle()
        worker.drain()
        worker.drain()
        await settle(30)
        assert (await place.job(job)).result == LOST
        assert worker.counters.ends["lost"] == 1


async def test_who_lost_its_lock_stops_and_writes_nothing(clock: VirtualClock) -> None:
    tools = Tools()
    heard: list[str] = []

    @tool(route=background())
    async def writes(ctx: RunContext[object]) -> None:
        """Write when it is too late."""
        try:
            await asyncio.sleep(1000)
        finally:
            heard.append(ctx.cancelled.reason)
            try:
                ctx.state.set("late", 1)
            except TaskFencedError as error:
                heard.append(type(error).__name__)

    async with sharing(clock) as place:
        worker = await place.worker(tools.work, writes)
        work = place.enqueue(tools.work)
        writing = place.enqueue(writes, task="task-2")
        await settle()
        began = clock.now()
        place.membership(worker).break_off()
        await place.ended(worker)
        assert worker.lost
        assert clock.now() - began < 1.5
        assert [(await place.job(each)).result for each in (work, writing)] == [LOST, LOST]
        assert heard == ["the worker lost its lock", "TaskFencedError"]
        assert worker.counters.ends["lost"] == 2


async def test_a_job_that_is_somebody_elses_now_is_let_go_of(clock: VirtualClock) -> None:
    tools = Tools()
    async with sharing(clock) as place:
        worker = await place.worker(tools.work)
        job = place.enqueue(tools.work, on_crash="retry")
        await settle()
        assert worker.member is not None
        intake = worker._intake  # pyright: ignore[reportPrivateUsage]
        assert intake is not None
        intake.concurrency = 0
        await place.store.queue.reap(worker.member.id)  # a survivor was wrong about it
        await settle()
        assert (await place.job(job)).status == "queued"
        assert worker.gauges.running == 0
        assert worker.counters.ends["lost"] == 1


async def test_a_store_without_workers_says_so(clock: VirtualClock) -> None:
    agent = Agent(ScriptedModel(), name="clerk", tools=[Tools().work])
    async with Runtime(agents=[agent], store="memory:", clock=clock) as runtime:
        with pytest.raises(ConfigurationError):
            await Worker(runtime).run()


def test_a_runtime_without_tools_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no tool that a worker could carry out"):
        Worker(Runtime(store="memory:"))


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"retries": 0}, {"grace": -1}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        Worker(Runtime(store="memory:"), **wrong)
