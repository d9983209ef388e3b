"""What every engine promises. A new engine adds one line to `ENGINES`."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from sidetask.core.errors import ConfigurationError, InvalidInputError
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.jsons import Json
from sidetask.engines.base import Context, Engine, JobSpec
from sidetask.engines.memory import MemoryEngine
from sidetask.engines.stored import StoredEngine
from sidetask.stores.memory import MemoryStore
from sidetask.tasks.durable.steps import StoredSteps
from sidetask.testing import VirtualClock, virtual_backend
from tests.durable.limits import HANG
from tests.stores.conftest import new_database, server

__all__ = ["server"]

DURABLE = [
    "stored",
    pytest.param("dbos-sqlite", marks=pytest.mark.durable),
    pytest.param("dbos-postgres", marks=[pytest.mark.durable, pytest.mark.postgres]),
]
ENGINES = ["memory", *DURABLE]

Make = Callable[[], Engine]
Pause = Callable[[float], Awaitable[None]]


@pytest.fixture(params=ENGINES)
def engine_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def anyio_backend(engine_name: str, clock: VirtualClock) -> object:
    """DBOS has threads of its own, which wait for no virtual clock."""
    return "asyncio" if engine_name.startswith("dbos") else virtual_backend(clock)


@pytest.fixture
def unit(engine_name: str) -> float:
    """What a second of these tests is: virtual, or less of a real one."""
    return 0.1 if engine_name.startswith("dbos") else 1.0


@pytest.fixture
def pause(unit: float) -> Pause:
    return lambda seconds: asyncio.sleep(unit * seconds)


@pytest.fixture
def make(engine_name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes an engine on one database: the next one is the next process."""
    store = MemoryStore()
    match engine_name:
        case "memory":
            return MemoryEngine
        case "stored":
            return lambda: StoredEngine(StoredSteps(store, lambda: 0.0))
        case "dbos-postgres":
            url: str = new_database(request.getfixturevalue("server"))
        case _:
            url = f"sqlite:///{tmp_path / 'dbos.db'}"
    from sidetask.engines.dbos import DbosEngine  # noqa: PLC0415 - no part of the unit suite

    return lambda: DbosEngine(url)


class Bodies:
    """The one body of all jobs: it does what the job's arguments name."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.ended: list[str] = []
        self.values: list[Json] = []
        self.work: dict[str, Callable[[Context], Awaitable[object]]] = {}

    async def __call__(self, spec: JobSpec, context: Context) -> None:
        assert context.id == spec.id
        self.ran.append(spec.id)
        if spec.name in self.work:
            await self.work[spec.name](context)

    async def have_ended(self, *ids: str) -> None:
        """Wait until as many have, and be sure that it is these."""
        async with asyncio.timeout(HANG):
            while len(self.ended) < len(ids):  # noqa: ASYNC110 - DBOS has threads of its own
                await asyncio.sleep(0.01)
        assert self.ended == [*ids]


class Stubborn:
    """Work that knows no cancellation, and ends when the test says so."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.let_go = asyncio.Event()

    async def __call__(self, _: Context) -> None:
        self.begun.set()
        while not self.let_go.is_set():
            with suppress(asyncio.CancelledError):
                await self.let_go.wait()


@pytest.fixture
def bodies() -> Bodies:
    return Bodies()


@pytest.fixture
async def engine(make: Make, bodies: Bodies, pause: Pause) -> AsyncIterator[Engine]:
    made = make()
    made.start(bodies, bodies.ended.append)
    made.submit(job("first"))
    await made.result("first:1")
    bodies.ran.clear()
    bodies.ended.clear()
    yield made
    await made.close()
    while made.find():
        await pause(10)


def job(name: str = "nothing", number: int = 1) -> JobSpec:
    conversation_id = ConversationId("c")
    return JobSpec(
        f"{name}:{number}", TaskId(name), number, name, "{}", conversation_id, True, number > 1
    )


async def test_a_job_runs_soon_and_its_end_is_told_once(
    engine: Engine, bodies: Bodies, pause: Pause
) -> None:
    assert engine.submit(job()) == "nothing:1"
    assert (bodies.ran, engine.find()) == ([], ("nothing:1",))
    await engine.result("nothing:1")
    await bodies.have_ended("nothing:1")
    await pause(1)
    assert (bodies.ran, bodies.ended, engine.find()) == (["nothing:1"], ["nothing:1"], ())


async def test_a_job_that_is_submitted_twice_runs_once(
    engine: Engine, bodies: Bodies, pause: Pause
) -> None:
    assert [engine.submit(job()), engine.submit(job())] == ["nothing:1", "nothing:1"]
    await bodies.have_ended("nothing:1")
    await pause(1)
    assert (bodies.ran, bodies.ended) == (["nothing:1"], ["nothing:1"])


async def test_a_job_cancelled_before_its_first_step_runs_nothing_and_ends(
    engine: Engine, bodies: Bodies, pause: Pause
) -> None:
    engine.submit(job())
    assert engine.cancel("nothing:1")
    await bodies.have_ended("nothing:1")
    await pause(1)
    assert (bodies.ran, bodies.ended) == ([], ["nothing:1"])
    assert not engine.cancel("nothing:1")
    assert not engine.cancel("unknown")


async def test_a_job_whose_asyncio_task_is_cancelled_before_its_first_step_ends(
    engine: Engine, bodies: Bodies, pause: Pause
) -> None:
    engine.submit(job())
    for task in asyncio.all_tasks():  # `asyncio.run` does it to all of them in the end
        if task.get_name() == "nothing:1":
            task.cancel()
    await bodies.have_ended("nothing:1")
    await pause(1)
    assert (bodies.ran, bodies.ended) == ([], ["nothing:1"])


def test_of_a_job_whose_event_loop_is_gone_nobody_is_told(bodies: Bodies) -> None:
    async def waits(_: Context) -> None:
        await asyncio.Event().wait()

    engine = MemoryEngine()
    engine.start(bodies, bodies.ended.append)
    bodies.work["waits"] = waits
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        engine.submit(job("waits"))
        await asyncio.sleep(0)

    loop.set_exception_handler(lambda _, __: None)  # a task was destroyed while it was pending
    loop.run_until_complete(begin())
    loop.close()
    engine.jobs.clear()
    gc.collect()
    assert (bodies.ran, bodies.ended) == (["waits:1"], [])


async def test_a_cancelled_job_ends_when_its_work_has_stopped(
    engine: Engine, bodies: Bodies, pause: Pause
) -> None:
    bodies.work["stubborn"] = stubborn = Stubborn()
    engine.submit(job("stubborn"))
    await stubborn.begun.wait()
    assert engine.cancel("stubborn:1")
    await pause(5)
    assert (engine.find(), bodies.ended) == (("stubborn:1",), [])
    stubborn.let_go.set()
    async with asyncio.timeout(HANG):
        await engine.result("stubborn:1")
    await bodies.have_ended("stubborn:1")
    await pause(1)
    assert (engine.find(), bodies.ended) == ((), ["stubborn:1"])


async def test_a_body_that_raises_ends_too(engine: Engine, bodies: Bodies, pause: Pause) -> None:
    async def fails(_: Context) -> None:
        raise ValueError("a bug")

    heard: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: heard.append(context.get("exception")))
    bodies.work["fails"] = fails
    engine.submit(job("fails"))
    await bodies.have_ended("fails:1")
    await pause(1)
    loop.set_exception_handler(None)
    assert (bodies.ended, [type(error) for error in heard]) == (["fails:1"], [ValueError])


async def test_a_signal_reaches_the_job_that_waits_for_its_topic_now_or_later(
    engine: Engine, bodies: Bodies, pause: Pause
) -> None:
    async def waits(context: Context) -> None:
        for topic in ("late", "early"):
            bodies.values.append(await context.wait(topic))

    bodies.work["waits"] = waits
    engine.submit(job("waits"))
    engine.signal("waits:1", "early", 1)
    await pause(1)
    engine.signal("waits:1", "late", 2)
    engine.signal("unknown", "late", 3)
    async with asyncio.timeout(HANG):
        await engine.result("waits:1")
    assert bodies.values == [2, 1]


async def test_a_step_gives_its_value_and_only_the_jobs_own_task_takes_steps(
    engine: Engine, bodies: Bodies
) -> None:
    async def double(number: int) -> int:
        return 2 * number

    async def steps(context: Context) -> None:
        bodies.values.append(await context.step("one", double, 21))
        async with asyncio.TaskGroup() as group:
            stray = group.create_task(refused(context))
        bodies.values.append(stray.result())

    async def refused(context: Context) -> str:
        with pytest.raises(InvalidInputError, match="one step at a time"):
            await context.step("two", double, 1)
        return "refused"

    bodies.work["steps"] = steps
    engine.submit(job("steps"))
    async with asyncio.timeout(HANG):
        await engine.result("steps:1")
    assert bodies.values == [42, "refused"]


async def test_a_step_is_refused_to_another_thread_that_the_job_is_blocked_by(
    engine: Engine, bodies: Bodies, pause: Pause
) -> None:
    async def stray(context: Context) -> None:
        with pytest.raises(InvalidInputError, match="one step at a time"):
            await context.step("one", pause, 0)
        bodies.values.append("refused")

    async def blocked(context: Context) -> None:
        thread = Thread(target=lambda: asyncio.run(stray(context)))
        thread.start()
        thread.join()

    bodies.work["blocked"] = blocked
    engine.submit(job("blocked"))
    await engine.result("blocked:1")
    assert bodies.values == ["refused"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no eager tasks")
async def test_a_step_is_refused_to_a_task_that_begins_inside_of_the_jobs_own(
    engine: Engine, bodies: Bodies, pause: Pause
) -> None:
    async def stray(context: Context) -> None:
        with pytest.raises(InvalidInputError, match="one step at a time"):
            await context.step("one", pause, 0)
        bodies.values.append("refused")

    async def eager(context: Context) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.eager_task_factory(loop, stray(context))  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - from Python 3.12 on

    bodies.work["eager"] = eager
    engine.submit(job("eager"))
    await engine.result("eager:1")
    assert bodies.values == ["refused"]


async def test_the_result_of_an_unknown_job_is_there_at_once(engine: Engine) -> None:
    async with asyncio.timeout(HANG):
        await engine.result("unknown")


async def test_close_cancels_what_runs_and_does_not_wait_for_what_will_not_stop(
    engine: Engine, bodies: Bodies, pause: Pause
) -> None:
    bodies.work["stubborn"] = stubborn = Stubborn()
    bodies.work["sleeps"] = lambda _: asyncio.sleep(1_000)
    for name in ("sleeps", "stubborn"):
        engine.submit(job(name))
    await stubborn.begun.wait()
    await pause(1)
    async with asyncio.timeout(HANG):
        await engine.close()
    await bodies.have_ended("sleeps:1")
    await pause(1)
    assert (engine.find(), bodies.ended) == (("stubborn:1",), ["sleeps:1"])
    stubborn.let_go.set()


async def test_an_engine_that_was_not_started_takes_no_job(make: Make) -> None:
    engine = make()
    with pytest.raises(ConfigurationError, match="start the engine"):
        engine.submit(job())
    await engine.close()


async def test_an_engine_tells_what_it_can_do(engine: Engine, engine_name: str) -> None:
    capabilities = engine.capabilities
    assert capabilities.durable is (engine_name != "memory")
    assert not capabilities.distributed


@pytest.mark.parametrize("engine_name", DURABLE, indirect=True)
async def test_a_finished_step_is_not_run_again_in_another_attempt_or_another_process(
    make: Make, bodies: Bodies
) -> None:
    ran: list[str] = []

    async def note(word: str) -> Json:
        ran.append(word)
        if word == "fails" and ran.count(word) == 1:
            raise OSError("no luck")
        return {"word": (word, None)}

    async def steps(context: Context) -> None:
        bodies.values += [await context.step("a", note, word) for word in ("one", "two")]
        with suppress(OSError):
            bodies.values.append(await context.step("b", note, "fails"))
        bodies.values.append(await context.step("c", note, "three"))

    bodies.work["steps"] = steps
    for life in ([1, 2], [3]):
        engine = make()
        engine.start(bodies, bodies.ended.append)
        for attempt in life:
            engine.submit(job("steps", attempt))
            async with asyncio.timeout(HANG):
                await engine.result(f"steps:{attempt}")
        await engine.close()
    assert ran == ["one", "two", "fails", "three", "fails"]
    first = [{"word": [word, None]} for word in ("one", "two", "three")]
    later = [*first[:2], {"word": ["fails", None]}, first[2]]
    assert bodies.values == [*first, *later, *later]


@pytest.mark.parametrize("engine_name", DURABLE, indirect=True)
async def test_steps_of_a_job_that_is_not_journaled_are_not_kept(
    engine: Engine, bodies: Bodies
) -> None:
    async def cheap() -> object:
        bodies.values.append("ran")
        return (1, object())  # it need not be JSON

    async def steps(context: Context) -> None:
        await context.step("one", cheap)

    bodies.work["steps"] = steps
    for attempt in (1, 2):
        spec = replace(job("steps", attempt), journal=False)
        engine.submit(spec)
        async with asyncio.timeout(HANG):
            await engine.result(spec.id)
    assert bodies.values == ["ran", "ran"]


@pytest.mark.parametrize("engine_name", DURABLE, indirect=True)
async def test_what_a_step_returns_is_json(engine: Engine, bodies: Bodies) -> None:
    async def strange() -> object:
        return object()

    async def steps(context: Context) -> None:
        with pytest.raises(InvalidInputError, match="'odd'"):
            await context.step("odd", strange)
        bodies.values.append("refused")

    bodies.work["steps"] = steps
    engine.submit(job("steps"))
    async with asyncio.timeout(HANG):
        await engine.result("steps:1")
    assert bodies.values == ["refused"]
