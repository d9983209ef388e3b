"""Homes and workers that come, die and go at random: each call has one end, and none runs twice
that must not."""

import asyncio
import random

import pytest

from sidetask.core.ids import TaskId
from sidetask.core.routing import OnCrash
from sidetask.stores.queue import OVER, StoredJob
from sidetask.tasks.values import Approval, Completed, Errored
from sidetask.testing import VirtualClock
from tests.tasks.harness import C, settle
from tests.tasks.remote.town import AGAIN, ASKING, ONCE, Hand, HomeBench, Town

SEEDS = range(40)
STEPS = 40


class Play:
    """One random course of events, and what may be said at its end."""

    def __init__(self, clock: VirtualClock, seed: int) -> None:
        self.town = Town(clock)
        self.dice = random.Random(seed)
        self.home: HomeBench | None = None
        self.workers: list[tuple[Hand, list[StoredJob]]] = []
        self.names = iter(range(1000))
        self.begun: dict[TaskId, OnCrash] = {}
        self.claims: dict[TaskId, int] = {}
        self.numbers: dict[TaskId, int] = {}
        self.parked: set[TaskId] = set()

    # -- what may happen -------------------------------------------------------------------------

    async def step(self) -> None:
        moves = [self.launch, self.launch, self.join, self.claim, self.claim, self.claim]
        moves += [self.finish, self.finish, self.ask, self.withdraw, self.decide, self.decide]
        moves += [self.cancel, self.crash, self.die, self.leave, self.wait, self.deafen, self.park]
        moves += [self.hold]
        if self.home is None:
            moves = [self.come_home, self.come_home, self.join, self.claim, self.finish, self.die]
        await self.dice.choice(moves)()
        if self.dice.random() < 0.7:
            await settle()

    async def come_home(self) -> None:
        self.home = await self.town.home()

    async def launch(self) -> None:
        assert self.home is not None
        policy = self.dice.choice([ONCE, AGAIN, ASKING])
        number = len(self.begun)
        task_id = self.home.start_in_background("work", {"n": number}, policy=policy)
        self.begun[task_id] = OnCrash(policy.on_crash)
        self.numbers[task_id] = number

    async def join(self) -> None:
        self.workers.append((self.town.worker(f"w{next(self.names)}"), []))

    async def claim(self) -> None:
        if not self.workers:
            return
        worker, jobs = self.dice.choice(self.workers)
        line = self.town.store.line
        for job in await line.claim(worker.id, list(worker.member.tools), limit=1):
            jobs.append(job)
            self.claims[job.task_id] = self.claims.get(job.task_id, 0) + 1

    async def finish(self) -> None:
        for worker, jobs in self.workers:
            if jobs:
                job = jobs.pop(self.dice.randrange(len(jobs)))
                outcomes = [Completed("x", "x"), Errored("e")]
                await worker.finish(job, self.dice.choice(outcomes))
                return

    async def ask(self) -> None:
        for worker, jobs in self.workers:
            if jobs:
                await worker.ask(self.dice.choice(jobs), self.dice.choice([1, 2]))
                return

    async def withdraw(self) -> None:
        for worker, jobs in self.workers:
            if jobs:
                await worker.stop_asking(self.dice.choice(jobs), self.dice.choice([1, 2]))
                return

    async def park(self) -> None:
        for worker, jobs in self.workers:
            if jobs:
                job = jobs.pop()
                self.parked.add(job.task_id)  # and somebody will say that it may run again
                await self.town.store.line.park(job.id, worker.id, "it kills")
                return

    async def decide(self) -> None:
        assert self.home is not None
        for approval in self.home.handle.approvals():
            self.rule(approval, yes=self.dice.random() < 0.8)

    def rule(self, approval: Approval, *, yes: bool) -> None:
        assert self.home is not None
        if yes:
            self.home.handle.approve(approval.id, by="ana")
        else:
            self.home.handle.deny(approval.id, by="ana")

    async def cancel(self) -> None:
        assert self.home is not None
        living = self.home.handle.list_running(C)
        if living and self.dice.random() < 0.4:
            self.home.handle.task(self.dice.choice(living).id).cancel()

    async def crash(self) -> None:
        if self.home is not None and self.dice.random() < 0.5:
            await self.town.crash(self.home)
            self.home = None

    async def die(self) -> None:
        if self.workers and self.dice.random() < 0.5:
            await self.workers.pop()[0].die()

    async def leave(self) -> None:
        if self.workers:
            worker, jobs = self.workers.pop()
            for job in jobs:
                self.claims[job.task_id] -= 1
            await worker.leave()

    async def wait(self) -> None:
        await asyncio.sleep(self.dice.choice([0.2, 1.5, 7]))

    async def deafen(self) -> None:
        assert self.home is not None
        self.home.view.line.deaf = not self.home.view.line.deaf

    async def hold(self) -> None:
        """What runs at home takes longer, or no longer."""
        if self.town.gate.is_set():
            self.town.gate.clear()
        else:
            self.town.gate.set()

    # -- the end ---------------------------------------------------------------------------------

    async def end(self) -> None:
        """All goes well from here on."""
        if self.home is None:
            await self.come_home()
        assert self.home is not None
        self.home.view.line.deaf = False
        self.town.gate.set()
        await self.join()
        worker, _ = self.workers[-1]
        line = self.town.store.line
        for _ in range(40):
            for other, jobs in self.workers:
                for job in jobs:
                    await other.finish(job)
                jobs.clear()
            for job in await line.find():
                if job.status == "parked":
                    await line.retry(job.id)
            for job in await line.claim(worker.id, list(worker.member.tools), limit=100):
                self.claims[job.task_id] = self.claims.get(job.task_id, 0) + 1
                await worker.finish(job)
            for approval in self.home.handle.approvals():
                self.rule(approval, yes=True)
            await asyncio.sleep(2)
            if not self.home.handle.list_running(C):
                return
        raise AssertionError([str(each) for each in self.home.handle.list_running(C)])

    async def check(self) -> None:
        assert self.home is not None
        results = [each.task_id for each in self.home.pending()]
        assert sorted(results) == sorted(self.begun)
        jobs = await self.town.jobs()
        assert [job for job in jobs if job.status not in OVER] == []
        for task_id, on_crash in self.begun.items():
            here = self.town.runs.count(f"work {self.numbers[task_id]}")
            runs = self.claims.get(task_id, 0) + here
            if on_crash is OnCrash.FAIL and task_id not in self.parked:
                assert runs <= 1, task_id
        self.home.manager.ack(C, results)
        left = {name: each for name, each in self.home.leaks.items() if each}
        assert left == {}


@pytest.mark.parametrize("play", SEEDS)
async def test_each_call_has_one_end_whatever_happens(clock: VirtualClock, play: int) -> None:
    course = Play(clock, play)
    await course.come_home()
    for _ in range(STEPS):
        await course.step()
    await course.end()
    await settle()
    await course.check()
