"""What every engine promises. A new engine adds one line to `ENGINES`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from sidetask.core.errors import ConfigurationError, InvalidInputError
from sidetask.core.ids import TaskId
from sidetask.core.jsons import Json
from sidetask.engines.base import Context, Engine, JobSpec
from sidetask.engines.memory import MemoryEngine
from sidetask.testing import ignores_cancellation

ENGINES = [pytest.param(MemoryEngine, id="memory")]


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


@pytest.fixture
def bodies() -> Bodies:
    return Bodies()


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest, bodies: Bodies) -> AsyncIterator[Engine]:
    made: Engine = request.param()
    made.start(bodies, bodies.ended.append)
    yield made
    await made.close()
    await asyncio.sleep(1_000)


def job(name: str = "nothing", number: int = 1) -> JobSpec:
    return JobSpec(f"{name}:{number}", TaskId(name), number, name, "{}")


async def test_a_job_runs_soon_and_its_end_is_told_once(engine: Engine, bodies: Bodies) -> None:
    assert engine.submit(job()) == "nothing:1"
    assert (bodies.ran, engine.find()) == ([], ("nothing:1",))
    await engine.result("nothing:1")
    await asyncio.sleep(1)
    assert (bodies.ran, bodies.ended, engine.find()) == (["nothing:1"], ["nothing:1"], ())


async def test_a_job_that_is_submitted_twice_runs_once(engine: Engine, bodies: Bodies) -> None:
    assert [engine.submit(job()), engine.submit(job())] == ["nothing:1", "nothing:1"]
    await asyncio.sleep(1)
    assert (bodies.ran, bodies.ended) == (["nothing:1"], ["nothing:1"])


async def test_a_job_cancelled_before_its_first_step_runs_nothing_and_ends(
    engine: Engine, bodies: Bodies
) -> None:
    engine.submit(job())
    assert engine.cancel("nothing:1")
    await asyncio.sleep(1)
    assert (bodies.ran, bodies.ended) == ([], ["nothing:1"])
    assert not engine.cancel("nothing:1")
    assert not engine.cancel("unknown")


async def test_a_cancelled_job_ends_when_its_work_has_stopped(
    engine: Engine, bodies: Bodies
) -> None:
    bodies.work["stubborn"] = lambda _: ignores_cancellation(50)
    engine.submit(job("stubborn"))
    await asyncio.sleep(1)
    assert engine.cancel("stubborn:1")
    await asyncio.sleep(10)
    assert (engine.find(), bodies.ended) == (("stubborn:1",), [])
    async with asyncio.timeout(100):
        await engine.result("stubborn:1")
    await asyncio.sleep(1)
    assert (engine.find(), bodies.ended) == ((), ["stubborn:1"])


async def test_a_body_that_raises_ends_too(engine: Engine, bodies: Bodies) -> None:
    async def fails(_: Context) -> None:
        raise ValueError("a bug")

    heard: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: heard.append(context.get("exception")))
    bodies.work["fails"] = fails
    engine.submit(job("fails"))
    await asyncio.sleep(1)
    loop.set_exception_handler(None)
    assert (bodies.ended, [type(error) for error in heard]) == (["fails:1"], [ValueError])


async def test_a_signal_reaches_the_job_that_waits_for_its_topic_now_or_later(
    engine: Engine, bodies: Bodies
) -> None:
    async def waits(context: Context) -> None:
        for topic in ("late", "early"):
            bodies.values.append(await context.wait(topic))

    bodies.work["waits"] = waits
    engine.submit(job("waits"))
    engine.signal("waits:1", "early", 1)
    await asyncio.sleep(1)
    engine.signal("waits:1", "late", 2)
    engine.signal("unknown", "late", 3)
    async with asyncio.timeout(10):
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
    await asyncio.sleep(1)
    assert bodies.values == [42, "refused"]


async def test_the_result_of_an_unknown_job_is_there_at_once(engine: Engine) -> None:
    async with asyncio.timeout(1):
        await engine.result("unknown")


async def test_close_cancels_what_runs_and_does_not_wait_for_what_will_not_stop(
    engine: Engine, bodies: Bodies
) -> None:
    bodies.work["stubborn"] = lambda _: ignores_cancellation(50)
    bodies.work["sleeps"] = lambda _: asyncio.sleep(50)
    for name in ("stubborn", "sleeps"):
        engine.submit(job(name))
    await asyncio.sleep(1)
    async with asyncio.timeout(1):
        await engine.close()
    await asyncio.sleep(1)
    assert (engine.find(), bodies.ended) == (("stubborn:1",), ["sleeps:1"])


@pytest.mark.parametrize("make", ENGINES)
async def test_an_engine_that_was_not_started_takes_no_job(make: Callable[[], Engine]) -> None:
    with pytest.raises(ConfigurationError, match="start the engine"):
        make().submit(job())


@pytest.mark.parametrize("make", ENGINES)
def test_an_engine_tells_what_it_can_do(make: Callable[[], Engine]) -> None:
    capabilities = make().capabilities
    assert isinstance(capabilities.durable, bool)
    assert isinstance(capabilities.distributed, bool)
