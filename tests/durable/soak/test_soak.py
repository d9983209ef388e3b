"""Two workers and a home on one Postgres, each of them killed at any moment, again and again.

A round is a conversation that launches twenty tasks; while they are at work processes are killed,
told to stop, or frozen until they have lost their locks. What was killed is started again. When
the home is idle, the referee looks at what is stored and at what was done.

Dice are printed with each round: SIDETASK_DICE=x SIDETASK_ROUND=n runs one again.
"""

import asyncio
import json
import os
import random
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

import pytest

from sidetask.client import Client
from sidetask.core.errors import SidetaskError
from sidetask.stores.opening import open_store
from tests.durable import worker_app
from tests.durable.limits import HANG
from tests.durable.program import lines_of
from tests.durable.soak.referee import Line, Verdict, check_state, is_denied, judge
from tests.stores.conftest import new_database

pytestmark = [pytest.mark.durable, pytest.mark.postgres]

KILLS = int(os.environ.get("SIDETASK_KILLS", "5"))
DICE = os.environ.get("SIDETASK_DICE", "1")
ONLY = os.environ.get("SIDETASK_ROUND")
BLOWS = {"kill worker": 12, "kill home": 4, "stop worker": 2, "freeze worker": 2, "freeze home": 1}
"""What is done to a process, and how often, of 21 times."""
FROZEN = 1.5
"""Seconds; its lock is gone at once."""
WORKER = (sys.executable, "-c", "from sidetask.cli.main import main; main()", "worker")
HOME = (sys.executable, "-m", "tests.durable.soak.home")


class Ring:
    """Where the rounds take place."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.log = folder / "log"
        self.errors = (folder / "errors").open("ab")
        self.store = open_store(url)
        self.client = Client(self.store)
        self.workers: list[asyncio.subprocess.Process] = []
        self.home: asyncio.subprocess.Process | None = None
        self.run = ""
        self.is_done = asyncio.Event()
        self.zombies: dict[int, float] = {}
        """When they were frozen first."""
        self.blows: Counter[str] = Counter()
        self.killed: list[tuple[float, int]] = []
        self.parked = 0
        self._stopping = False

    @property
    def kills(self) -> int:
        return sum(count for blow, count in self.blows.items() if blow.startswith("kill"))

    async def start(self, *command: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=self.errors,
            env={**os.environ, worker_app.LOG: str(self.log)},
        )

    async def keep_worker(self) -> None:
        """Have a worker there, however often it ends."""
        app = (
            "--app",
            "tests.durable.soak.app:make",
            "--store",
            self.url,
            "--grace",
            "1",
            "-n",
            "8",
        )
        while not self._stopping:
            process = await self.start(*WORKER, *app)
            self.workers.append(process)
            if self._stopping:  # since it was being started
                process.terminate()
            await process.communicate()
            self.workers.remove(process)

    async def keep_home(self) -> None:
        """Have the conversation open until nothing is left to do."""
        while not self.is_done.is_set():
            self.home = await self.start(*HOME, self.url, self.run)
            said, _ = await self.home.communicate()
            if b"done\n" in said:
                self.is_done.set()

    async def decide(self) -> None:
        """Be the person: answer what is asked, and have tried again what is parked."""
        while not self.is_done.is_set():
            with suppress(SidetaskError):  # somebody was quicker
                for asked in await self.client.approvals(conversation_id=self.run):
                    if is_denied(asked.metadata.get("number", 1)):
                        await asked.deny("no", by="ana")
                    else:
                        await asked.approve(by="ana")
                for parked in await self.client.parked(conversation_id=self.run):
                    self.parked += 1
                    await self.client.retry(parked.task.id)
            await asyncio.sleep(0.1)

    # -- blows -----------------------------------------------------------------------------

    async def strike(self, dice: random.Random) -> None:
        """Hit a process, at any moment."""
        await asyncio.sleep(dice.uniform(0.05, 1.0))
        blow = dice.choices(list(BLOWS), list(BLOWS.values()))[0]
        which = self.home
        if blow.endswith("worker"):
            which = dice.choice(self.workers) if self.workers else None
        if which is None or which.returncode is not None or self.is_done.is_set():
            return
        self.blows[blow] += 1
        match blow.split()[0]:
            case "kill":
                which.kill()
                self.killed.append((time.time(), which.pid))
            case "stop":
                which.terminate()
            case _:
                await self.freeze(which)

    async def freeze(self, process: asyncio.subprocess.Process) -> None:
        """Let it stand still until others have taken over."""
        self.zombies.setdefault(process.pid, time.time())
        process.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(self._unlock, process.pid)
        await asyncio.sleep(FROZEN)
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)

    def _unlock(self, pid: int) -> None:
        import psycopg  # noqa: PLC0415 - no part of the unit suite

        with psycopg.connect(self.url, autocommit=True) as db:
            for place, data in db.execute("SELECT place, data FROM sidetask.members"):
                if json.loads(data)["pid"] == pid:
                    db.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE "
                        "locktype = 'advisory' AND objid::bigint = %s AND objsubid = 2",
                        [place],
                    )

    def _remains(self) -> list[str]:
        """What there is of members that do not live, of owners that are no members, and of jobs
        that somebody is about to end."""
        import psycopg  # noqa: PLC0415 - no part of the unit suite

        with psycopg.connect(self.url, autocommit=True) as db:
            return [
                str(row)
                for sql in (
                    "SELECT id FROM sidetask.members WHERE place NOT IN (SELECT"
                    " objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2)",
                    "SELECT id, owner FROM sidetask.jobs WHERE status IN ('running',"
                    " 'cancelling') AND owner NOT IN (SELECT id FROM sidetask.members)",
                )
                for row in db.execute(sql)
            ] + [
                str(row)
                for row in db.execute(
                    "SELECT id, status FROM sidetask.jobs WHERE conversation_id = %s AND status IN"
                    " ('queued', 'running', 'cancelling')",
                    [self.run],
                )
            ]

    # -- rounds ----------------------------------------------------------------------------

    async def round(self, number: int, most: int) -> Verdict:
        """One round, with up to so many blows."""
        self.run, self.home = f"{DICE}-{number}", None
        self.is_done = asyncio.Event()
        dice = random.Random(self.run)
        verdict = Verdict()
        home = asyncio.create_task(self.keep_home())
        person = asyncio.create_task(self.decide())
        if dice.random() < 0.8:
            await self._until_at_work()
        for _ in range(min(most, dice.randint(2, 8))):
            await self.strike(dice)
        try:
            async with asyncio.timeout(HANG):
                await self.is_done.wait()
        except TimeoutError:
            verdict.expect(False, await self._why())
            self.is_done.set()
            if self.home is not None and self.home.returncode is None:
                self.home.kill()
        await home
        await person
        until, remains = time.monotonic() + HANG, await asyncio.to_thread(self._remains)
        while remains and time.monotonic() < until:
            await asyncio.sleep(0.1)
            remains = await asyncio.to_thread(self._remains)
        verdict.expect(not remains, f"left of the dead: {remains}")
        found = await judge(self.store, self.run, self.lines(), self.zombies)
        await check_state(self.store, self.run, found.ends, found)
        found.violations += verdict.violations
        return found

    async def _until_at_work(self) -> None:
        async with asyncio.timeout(HANG):
            while not self.lines():  # noqa: ASYNC110 - other processes write them
                await asyncio.sleep(0.02)

    async def _why(self) -> str:
        """What the round still waits for."""
        tasks = await self.client.tasks(conversation_id=self.run)
        found = [f"{task.id} {task.name}: {await self.client.why(task.id)}" for task in tasks]
        return "it does not end: " + "; ".join(found)

    def lines(self, every: bool = False) -> list[Line]:
        found: list[Line] = []
        for line in lines_of(self.log):
            at, pid, *words = line.split()
            if every or words[0] == self.run:
                found.append((float(at), int(pid), words))
        return found

    def resumed(self) -> list[float]:
        """For each task of a worker that was killed: the seconds until something more was done of
        it. Some wait for room meanwhile, or for the only other worker to be started again."""
        found: list[float] = []
        lines = [(at, pid, (*each[:1], *each[2:4])) for at, pid, each in self.lines(every=True)]
        for killed, victim in self.killed:
            last = {task: pid for at, pid, task in lines if at <= killed}
            for task in [task for task, pid in last.items() if pid == victim]:
                again = [at - killed for at, _, each in lines if each == task and at > killed]
                found += again[:1]
        return found

    async def close(self) -> None:
        """Let the workers go."""
        self._stopping = True
        for each in self.workers:
            if each.returncode is None:
                each.terminate()


@pytest.fixture
async def ring(server: str, tmp_path: Path) -> AsyncGenerator[Ring]:
    ring = Ring(new_database(server), tmp_path)
    yield ring
    for process in (*ring.workers, ring.home):
        if process is not None and process.returncode is None:
            process.kill()
        if process is not None:
            await process.communicate()
    ring.errors.close()
    await ring.store.close()


async def test_nothing_is_lost_or_done_twice_however_often_workers_and_homes_die(
    ring: Ring,
) -> None:
    violations: list[str] = []
    ends: Counter[str] = Counter()
    number = asked = 0
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(ring.keep_worker())
        while ring.kills < KILLS and not (ONLY and number):
            number += 1
            verdict = await ring.round(int(ONLY or number), KILLS - ring.kills)
            print(
                f"dice {DICE}, round {ONLY or number}, {ring.blows}: {verdict.ends}",
                *verdict.violations,
                sep="\n  ",
            )
            ends += verdict.ends
            asked += verdict.asked
            violations += verdict.violations
        await ring.close()
    told(ring, number, ends, asked)
    assert violations == []


def told(ring: Ring, rounds: int, ends: Counter[str], asked: int) -> None:
    """Print what it came to."""
    print(f"dice {DICE}: {rounds} rounds, {dict(ring.blows)}, {ring.kills} times kill -9")
    print(f"{sum(ends.values())} ends: {dict(ends)}; {asked} questions; {ring.parked} put back")
    took = sorted(ring.resumed())
    if took:
        p95 = took[int(0.95 * len(took))]
        print(
            f"from kill to resume, of {len(took)} tasks: p50 {statistics.median(took):.2f} s,"
            f" p95 {p95:.2f} s, max {took[-1]:.2f} s"
        )
