"""Workers as programs, on a Postgres: they are killed, stopped, and cut off; nothing runs twice."""

import asyncio
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sidetask import Agent, Runtime
from sidetask.agents.tools.tool import AnyTool
from sidetask.client import Client
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.messages import ToolCall
from sidetask.stores.base import Store
from sidetask.stores.opening import open_store
from sidetask.stores.queue import NewJob, StoredJob
from sidetask.tasks.remote.values import JobOrder, key_of, order_to_json
from sidetask.testing import ScriptedModel, call
from tests.durable import worker_app as app
from tests.durable.limits import AGES, HANG
from tests.durable.program import lines_of
from tests.durable.waiting import until
from tests.durable.worker_home import COUNT, name_of
from tests.stores.conftest import new_database

pytestmark = [pytest.mark.durable, pytest.mark.postgres]

C = ConversationId("c")
SIDETASK = (sys.executable, "-c", "from sidetask.cli.main import main; main()")


class Program:
    """A worker that runs."""

    def __init__(self, process: asyncio.subprocess.Process, greeting: str) -> None:
        self.process = process
        self.greeting = greeting

    def send(self, signum: signal.Signals) -> None:
        self.process.send_signal(signum)

    async def says(self, word: str) -> str:
        """The next line that begins with this."""
        assert self.process.stdout is not None
        async with asyncio.timeout(HANG):
            async for line in self.process.stdout:
                if line.startswith(word.encode()):
                    return line.decode()
        raise AssertionError(f"it has ended, and never said {word!r}")

    async def ends(self) -> tuple[int | None, str, str]:
        """Its exit code, and what it has said and complained of."""
        async with asyncio.timeout(HANG):
            out, err = await self.process.communicate()
        return self.process.returncode, out.decode(), complaints(err)


def complaints(err: bytes) -> str:
    """What a program complains of, but for a machine that is slow."""
    lines = err.decode().splitlines(keepends=True)
    return "".join([line for line in lines if "did not stop within" not in line])


class Stage:
    """A database, a log of what tools did, and workers."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self.log = log
        self.store: Store = open_store(url)
        self.programs: list[asyncio.subprocess.Process] = []

    @property
    def env(self) -> Mapping[str, str]:
        return {**os.environ, app.LOG: str(self.log)}

    async def start(self, *command: str, **env: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**self.env, **env},
        )
        self.programs.append(process)
        return process

    async def worker(self, *options: str, make: str = "make", **env: str) -> Program:
        """One that has joined."""
        process = await self.start(
            *SIDETASK,
            *("worker", "--app", f"tests.durable.worker_app:{make}", "--store", self.url),
            *("--conversations", "0"),  # of jobs alone; a killed home comes back by itself
            *options,
            **env,
        )
        assert process.stdout is not None
        async with asyncio.timeout(HANG):
            greeting = (await process.stdout.readline()).decode()
        if not greeting:
            _, err = await process.communicate()
            raise AssertionError(err.decode())
        return Program(process, greeting)

    async def home(self, life: str) -> asyncio.subprocess.Process:
        return await self.start(sys.executable, "-m", "tests.durable.worker_home", self.url, life)

    async def workers(self, count: int) -> list[Program]:
        starting = [asyncio.create_task(self.worker()) for _ in range(count)]
        return [await each for each in starting]

    def lines(self) -> list[tuple[float, int, list[str]]]:
        """What was done: when, in which process, what."""
        found: list[tuple[float, int, list[str]]] = []
        for line in lines_of(self.log):
            at, pid, *words = line.split()
            found.append((float(at), int(pid), words))
        return found

    def times(self, word: str) -> int:
        return sum(words[0] == word for _, _, words in self.lines())

    def at_step(self, at: int, pid: int) -> set[str]:
        """The numbers of the works that this process has brought to this step."""
        return {
            words[1]
            for _, who, words in self.lines()
            if who == pid and (words[0], words[-1]) == ("began", str(at))
        }

    async def until(self, count: int, word: str) -> None:
        await until(lambda: self.times(word) >= count)

    def enqueue(self, tool: AnyTool, task: str, **arguments: Any) -> str:
        order = JobOrder(call=ToolCall.make(tool.name, arguments, id=task), agent="clerk")
        job = NewJob(
            id=f"{task}:1",
            conversation_id=C,
            task_id=TaskId(task),
            key=key_of("clerk", tool.name),
            fingerprint=tool.fingerprint,
            on_crash=str(tool.policy.on_crash),
            at=time.time(),
            data=order_to_json(order),
        )
        self.store.queue.enqueue(job)
        return job.id

    async def over(self, job_id: str) -> StoredJob:
        async with asyncio.timeout(HANG):
            while True:
                job = await self.store.queue.get(job_id)
                if job is not None and job.status in ("ended", "cancelled", "parked"):
                    return job
                await asyncio.sleep(0.01)

    def check_nothing_twice(self) -> Counter[str]:
        """No finished step began again, and nobody was paid twice. Returns the payments."""
        finished: set[tuple[str, ...]] = set()
        paid: Counter[str] = Counter()
        for _, _, words in self.lines():
            match words:
                case ["began", *place]:
                    assert tuple(place) not in finished, f"{place} ran again"
                case ["finished", *place]:
                    finished.add(tuple(place))
                case ["paid", number]:
                    paid[number] += 1
                case _:
                    pass
        assert set(paid.values()) <= {1}
        return paid


@pytest.fixture
async def stage(server: str, tmp_path: Path) -> AsyncGenerator[Stage]:
    stage = Stage(new_database(server), tmp_path / "log")
    yield stage
    for process in stage.programs:
        if process.returncode is None:
            process.kill()
        await process.communicate()  # its pipes, too, of one that has ended
    await stage.store.close()


@asynccontextmanager
async def at_home(stage: Stage, *script: Any) -> AsyncGenerator[tuple[Any, Any]]:
    """A live agent in this process."""
    agent = Agent(ScriptedModel(*script), name="clerk", tools=app.TOOLS)
    async with Runtime(store=stage.url, agents=[agent], max_auto_turns=1000) as runtime:
        chat = await runtime.open(agent, conversation_id=C)
        yield runtime, chat
        await chat.disconnect()


def told(out: str) -> list[list[str]]:
    return [line.split(maxsplit=4)[1:] for line in out.splitlines() if line.startswith("told")]


async def test_a_killed_workers_tasks_go_on_elsewhere_and_nothing_runs_twice(stage: Stage) -> None:
    victim = await stage.worker("--concurrency", "10", HELD="step 2")
    home = await stage.home("first")
    pid = victim.process.pid
    await until(lambda: len(stage.at_step(2, pid)) == 10)  # the steps before are stored
    survivor = await stage.worker("--concurrency", "10")
    had, killed = stage.at_step(2, pid), time.time()
    victim.send(signal.SIGKILL)
    async with asyncio.timeout(HANG):
        out, err = await home.communicate()
    assert home.returncode == 0, err.decode()
    ends = told(out.decode())
    assert len(ends) == len({task for _, task, *_ in ends}) == COUNT, "each is told once"
    stage.check_nothing_twice()
    resumed = {
        words[1]: at - killed
        for at, who, words in stage.lines()
        if who == survivor.process.pid and words[0] == "began" and words[1] in had
    }
    assert resumed.keys() == had
    first, last = min(resumed.values()), max(resumed.values())
    print(f"\nresumed {first:.2f} s after kill -9, the last {last:.2f} s")
    assert first <= 1.0
    for name, _, status, text in ends:
        if name == "work":
            assert (status, text[:6]) == ("succeeded", "worked")
        else:
            assert status == "succeeded" or "outcome is unknown" in text


async def test_steps_that_dbos_has_kept_are_not_repeated_by_another_worker(stage: Stage) -> None:
    victim = await stage.worker(make="with_dbos", HELD="step 2")
    job = stage.enqueue(app.work, "work", number=1)
    await until(lambda: stage.at_step(2, victim.process.pid))
    survivor = await stage.worker(make="with_dbos")
    victim.send(signal.SIGKILL)
    ended = await stage.over(job)
    assert (ended.status, ended.claims) == ("ended", 2)
    assert "worked 1" in str(ended.result)
    stage.check_nothing_twice()
    assert stage.at_step(4, survivor.process.pid) == {"1"}


async def test_a_killed_home_finds_what_its_workers_have_done(stage: Stage) -> None:
    await stage.worker("--concurrency", "10")
    home = await stage.home("first")
    assert home.stdout is not None
    async with asyncio.timeout(HANG):
        assert await home.stdout.readline() == b"ready\n"  # all of it is out
    await stage.until(10, "finished")
    home.kill()
    await home.communicate()
    await asyncio.sleep(0.3)  # the worker goes on
    again = await stage.start(
        sys.executable, "-m", "tests.durable.worker_home", stage.url, "second"
    )
    async with asyncio.timeout(HANG):
        out, err = await again.communicate()
    assert again.returncode == 0, err.decode()
    ends = told(out.decode())
    assert sorted(name for name, *_ in ends) == sorted(name_of(number) for number in range(COUNT))
    assert {status for _, _, status, _ in ends} == {"succeeded"}
    assert len(stage.check_nothing_twice()) == 4


async def test_another_process_cancels_a_task_that_a_worker_carries_out(stage: Stage) -> None:
    await stage.worker()
    async with at_home(stage, (call("wait", seconds=AGES),), "Begun.", "Told.") as (_, chat):
        await chat.ask("Wait.")
        await stage.until(1, "waits")
        async with Client(stage.url) as client:
            began = time.time()
            [task] = await client.tasks()
            await client.cancel(task.id, by="ana")
            await stage.until(1, "waited")
        took = stage.lines()[-1][0] - began
        print(f"\ncancelled within {took:.2f} s")
        assert took <= 1.5
        await chat.wait_for_idle(timeout=HANG)
        assert [task.status for task in chat.tasks] == ["cancelled"]


async def test_what_a_worker_asks_is_decided_at_home_though_another_one_goes_on(
    stage: Stage,
) -> None:
    first = await stage.worker()
    async with at_home(stage, (call("confirm", amount=5),), "Begun.", "Told.") as (_, chat):
        await chat.ask("Do it.")
        await until(lambda: chat.approvals)
        [asked] = chat.approvals
        assert (asked.reason, asked.metadata) == ("Really?", {"amount": 5})
        await until(lambda: chat.tasks.get(asked.task_id).progress)  # another hint, another look
        assert chat.tasks.get(asked.task_id).progress.note == "half of it"
        second = await stage.worker()  # before the first has gone: else home goes on itself
        first.send(signal.SIGTERM)
        code, out, _ = await first.ends()
        assert (code, out.splitlines()[-1]) == (0, "left: 1 handed_back")
        chat.approvals.approve(asked.id, by="ana")
        await stage.until(1, "confirmed")
        await chat.wait_for_idle(timeout=HANG)
        assert [task.status for task in chat.tasks] == ["succeeded"]
        [(_, pid, words)] = stage.lines()
        assert (pid, words) == (second.process.pid, ["confirmed", "5"])
        await until(lambda: chat.state.get("amount") == 5)  # it comes home by a hint of its own


async def test_sigterm_lets_what_runs_end_and_hands_the_rest_back(stage: Stage) -> None:
    worker = await stage.worker("--grace", "10", "--health-port", "0", HELD="step 0,wait")
    says = r"worker \S+: postgresql://\S+, 20 at once, 6 tools: clerk/work "
    assert re.match(says, worker.greeting)
    ends_soon = stage.enqueue(app.wait, "soon", seconds=0)
    stays = stage.enqueue(app.wait, "stays", seconds=AGES)
    works = stage.enqueue(app.work, "work", number=1)
    await stage.until(2, "waits")
    await stage.until(1, "began")
    worker.send(signal.SIGTERM)
    assert (await worker.says("draining:")).startswith("draining: 3 at work get up to 10 s;")
    late = stage.enqueue(app.work, "late", number=2)
    app.let_go(stage.log)
    code, out, err = await worker.ends()
    assert (code, err) == (0, "")
    assert "2 succeeded, 1 lost" in out
    assert [(await stage.over(job)).status for job in (ends_soon, stays, works)] == ["ended"] * 3
    job = await stage.store.queue.get(late)
    assert job is not None
    assert job.status == "queued"


async def test_a_second_signal_ends_it_at_once(stage: Stage) -> None:
    worker = await stage.worker("--grace", str(AGES))
    stage.enqueue(app.wait, "stays", seconds=AGES)
    await stage.until(1, "waits")
    worker.send(signal.SIGINT)
    await worker.says("draining:")
    worker.send(signal.SIGINT)
    code, out, err = await worker.ends()
    assert (code, err) == (0, "")
    assert "1 lost" in out


async def test_a_worker_whose_lock_is_lost_says_so_and_ends(stage: Stage) -> None:
    import psycopg  # noqa: PLC0415 - no part of the unit suite

    worker = await stage.worker()
    stage.enqueue(app.wait, "stays", seconds=AGES)
    await stage.until(1, "waits")
    began = time.time()
    with psycopg.connect(stage.url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
        )
    code, _, err = await worker.ends()
    print(f"\nended {time.time() - began:.2f} s after its lock was lost")
    assert code == 1
    assert "start it again" in err
    assert stage.lines()[-1][2] == ["waited"]


async def test_a_job_that_kills_its_workers_is_parked_and_the_others_go_on(stage: Stage) -> None:
    await stage.workers(4)
    poison = stage.enqueue(app.die, "poison")
    others = [stage.enqueue(app.work, f"work-{n}", number=n) for n in range(6)]
    job = await stage.over(poison)
    assert (job.status, job.claims) == ("parked", 3)
    for each in others:
        assert (await stage.over(each)).result is not None
    stage.check_nothing_twice()


async def test_each_worker_takes_what_it_knows_of_its_release(stage: Stage) -> None:
    """As soon as it has seen the other one: a job that is taken before that is no fault."""
    await stage.worker(make="few")
    unknown = stage.enqueue(app.work, "unknown", number=1)
    await asyncio.sleep(1.2)
    job = await stage.store.queue.get(unknown)
    assert job is not None
    assert job.status == "queued"
    await stage.worker(RELEASE="1")
    await stage.worker(RELEASE="2")
    assert (await stage.over(unknown)).status == "ended"
    async with asyncio.timeout(HANG):
        number = 0
        while not await greeted_by_release(stage, number):
            number += 1


async def greeted_by_release(stage: Stage, number: int) -> bool:
    """Ask for so many greetings at once that nobody gets his own by chance."""
    jobs = [
        stage.enqueue((app.greet_1, app.greet_2)[n % 2], f"greet-{number}-{n}", name="Ana")
        for n in range(24)
    ]
    said = [str((await stage.over(job)).result) for job in jobs]
    return all(("Hello Ana", "Hi Ana")[n % 2] in each for n, each in enumerate(said))
