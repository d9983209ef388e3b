"""What the engine on DBOS adds to DBOS."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
from dbos import DBOS, DBOSConfig, SetWorkflowTimeout
from sqlalchemy import Engine as SqlEngine

from sidetask.core.errors import ConfigurationError
from sidetask.core.ids import TaskId
from sidetask.engines.base import Context, JobSpec
from sidetask.engines.dbos import DbosEngine, sqlite_engine
from tests.durable.limits import AGES, HANG

pytestmark = pytest.mark.durable

JOB = JobSpec("t:1", TaskId("t"), 1, "t", "{}")


@pytest.fixture
def anyio_backend() -> str:
    """DBOS has threads of its own, which wait for no virtual clock."""
    return "asyncio"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'dbos.db'}"


@pytest.fixture
def connections(url: str) -> Generator[SqlEngine]:
    """Of the application."""
    made = sqlite_engine(url)
    yield made
    made.dispose()


@pytest.fixture
async def engine(url: str) -> AsyncGenerator[DbosEngine]:
    engine = DbosEngine(url)
    yield engine
    await engine.close()


def ignore(_: str) -> None:
    """Nobody waits for the end."""


async def cancelled(count: int) -> list[str]:
    """The workflows that DBOS knows as cancelled, when there are so many."""
    async with asyncio.timeout(HANG):
        while True:
            rows = await DBOS.list_workflows_async(status="CANCELLED")
            if len(rows) == count:
                return [row.workflow_id for row in rows]
            await asyncio.sleep(0.02)


async def test_there_is_one_engine_in_a_process(engine: DbosEngine, url: str) -> None:
    with pytest.raises(ConfigurationError, match="DBOS runs in this process already"):
        DbosEngine(url)
    await engine.open()
    with pytest.raises(ConfigurationError, match="DBOS runs in this process already"):
        DbosEngine(url)
    await engine.close()
    await DbosEngine(url).close()


async def test_an_engine_has_a_database_or_the_applications_dbos(url: str) -> None:
    with pytest.raises(ConfigurationError, match="URL of a database, or existing"):
        DbosEngine()


async def test_the_applications_own_dbos_is_used_and_left_alone(
    url: str, connections: SqlEngine
) -> None:
    config: DBOSConfig = {
        "name": "theirs",
        "system_database_engine": connections,
        "log_level": "ERROR",
    }
    theirs = DBOS(config=config)
    await asyncio.to_thread(DBOS.launch)
    with pytest.raises(ConfigurationError, match="existing=dbos"):
        DbosEngine(url)
    engine = DbosEngine(existing=theirs)
    got: list[int] = []

    async def body(_: JobSpec, context: Context) -> None:
        async def five() -> int:
            return 5

        got.append(await context.step("five", five))

    engine.start(body, ignore)
    engine.submit(JOB)
    await engine.result(JOB.id)
    await engine.close()
    assert got == [5]
    done = await DBOS.list_workflows_async(workflow_id_prefix="t:1@")
    assert [each.status for each in done] == ["SUCCESS"]
    await asyncio.to_thread(DBOS.destroy)


async def test_a_workflow_of_the_application_runs_meanwhile_and_after(
    connections: SqlEngine,
) -> None:
    config: DBOSConfig = {
        "name": "theirs",
        "system_database_engine": connections,
        "log_level": "ERROR",
    }
    theirs = DBOS(config=config)
    steps: list[str] = []

    @DBOS.step()
    async def note(word: str) -> str:
        steps.append(word)
        return word

    @DBOS.workflow(name="their_order")
    async def order() -> str:
        await note("begun")
        went_on = await DBOS.recv_async("go", timeout_seconds=HANG)
        return await note(f"ended {went_on}")

    await asyncio.to_thread(DBOS.launch)
    running = await DBOS.start_workflow_async(order)
    engine = DbosEngine(existing=theirs)
    took: list[object] = []

    async def body(_: JobSpec, context: Context) -> None:
        took.append(await context.step("one", asyncio.sleep, 0.01, "mine"))

    engine.start(body, ignore)
    for number in range(5):
        spec = JobSpec(f"t{number}:1", TaskId(f"t{number}"), 1, "t", "{}")
        engine.submit(spec)
        await engine.result(spec.id)
    await engine.vacuum(9e9, ())
    await engine.close()
    assert took == ["mine"] * 5
    await DBOS.send_async(running.workflow_id, "well", "go")
    async with asyncio.timeout(HANG):
        assert await running.get_result() == "ended well"
    assert steps == ["begun", "ended well"]
    assert [each.name for each in await DBOS.list_workflows_async()] == ["their_order"]
    await asyncio.to_thread(DBOS.destroy)


async def test_a_cancel_is_prompt_in_a_step_in_a_wait_and_in_a_sleep(engine: DbosEngine) -> None:
    """A few turns of the loop: no thread and no database is waited for."""
    began = asyncio.Event()

    async def long() -> None:
        began.set()
        await asyncio.sleep(AGES)

    async def body(spec: JobSpec, context: Context) -> None:
        if spec.name == "step":
            await context.step("long", long)
        elif spec.name == "wait":
            began.set()
            await context.wait("never")
        await long()

    engine.start(body, ignore)
    for name in ("step", "wait", "sleep"):
        began.clear()
        engine.submit(JobSpec(f"{name}:1", TaskId(name), 1, name, "{}"))
        await began.wait()
        await asyncio.sleep(0)
        assert engine.cancel(f"{name}:1")
        for _ in range(5):
            await asyncio.sleep(0)
        assert engine.find() == ()
    assert len(await cancelled(3)) == 3


async def test_the_loop_has_its_threads_back_when_the_engine_is_closed(engine: DbosEngine) -> None:
    await asyncio.to_thread(int)
    await engine.open()
    await engine.close()
    assert await asyncio.to_thread(int, "7") == 7


async def test_what_is_stored_is_json_on_connections_made_for_it(
    engine: DbosEngine, tmp_path: Path
) -> None:
    async def body(_: JobSpec, context: Context) -> None:
        async def value() -> object:
            return {"a": [1, "ü", None]}

        await context.step("one", value)
        raise ValueError("a bug")

    asyncio.get_running_loop().set_exception_handler(lambda _, __: None)
    engine.start(body, ignore)
    engine.submit(JOB)
    await engine.result(JOB.id)
    await engine.close()
    made = sqlite3.connect(tmp_path / "dbos.db")
    assert made.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    versions = made.execute("SELECT application_version, serialization FROM workflow_status")
    assert versions.fetchall() == [("1", "sidetask_json")]
    [output] = made.execute("SELECT output FROM operation_outputs").fetchone()
    assert output == '{"a": [1, "\\u00fc", null]}'
    made.close()


async def test_a_job_that_is_not_journaled_writes_nothing(engine: DbosEngine, url: str) -> None:
    async def body(_: JobSpec, context: Context) -> None:
        await context.step("one", asyncio.sleep, 0)

    engine.start(body, ignore)
    await engine.open()
    engine.submit(JobSpec("t:1", TaskId("t"), 1, "t", "{}", journal=False))
    await engine.result("t:1")
    assert await DBOS.list_workflows_async() == []


async def test_what_is_over_is_forgotten_and_not_what_a_living_task_needs(
    engine: DbosEngine, url: str
) -> None:
    runs = asyncio.Event()

    async def body(spec: JobSpec, context: Context) -> None:
        await context.step("one", asyncio.sleep, 0)
        if spec.name == "runs":
            runs.set()
            await asyncio.sleep(AGES)

    @DBOS.workflow(name="theirs")
    async def theirs() -> None:
        """Of the application."""

    engine.start(body, ignore)
    for name in ("over", "lives", "runs"):
        engine.submit(JobSpec(f"{name}:1", TaskId(name), 1, name, "{}"))
    await engine.result("over:1")
    await engine.result("lives:1")
    await runs.wait()
    await theirs()
    await engine.vacuum(0.0, ())
    assert len(await DBOS.list_workflows_async()) == 4
    await engine.vacuum(9e9, [TaskId("lives")])
    left = await DBOS.list_workflows_async()
    assert sorted(each.name for each in left) == ["sidetask.job", "sidetask.job", "theirs"]
    assert sorted(
        each.workflow_id.partition(":")[0] for each in left if "@" in each.workflow_id
    ) == [
        "lives",
        "runs",
    ]
    engine.cancel("runs:1")
    await engine.result("runs:1")
    assert len(await cancelled(1)) == 1
    await engine.vacuum(9e9, ())
    assert [each.name for each in await DBOS.list_workflows_async()] == ["theirs"]


async def test_a_job_that_dbos_takes_up_by_itself_does_nothing(engine: DbosEngine) -> None:
    ran: list[str] = []
    began = asyncio.Event()

    async def body(spec: JobSpec, _: Context) -> None:
        ran.append(spec.id)
        began.set()
        await asyncio.sleep(AGES)

    engine.start(body, ignore)
    engine.submit(JOB)
    await began.wait()
    engine.cancel(JOB.id)
    await engine.result(JOB.id)
    [workflow_id] = await cancelled(1)
    handle = await DBOS.resume_workflow_async(workflow_id)
    async with asyncio.timeout(HANG):
        await handle.get_result()
    assert ran == ["t:1"]


@pytest.mark.parametrize("where", ["workflow", "step"])
async def test_a_job_that_is_submitted_in_a_workflow_of_the_application_is_no_part_of_it(
    connections: SqlEngine, where: str
) -> None:
    config: DBOSConfig = {
        "name": "theirs",
        "system_database_engine": connections,
        "log_level": "ERROR",
    }
    engine = DbosEngine(existing=DBOS(config=config))
    got: list[object] = []

    async def body(_: JobSpec, context: Context) -> None:
        got.append(await context.step("one", asyncio.sleep, 0.3, "mine"))

    async def submit() -> None:
        engine.submit(JOB)
        await engine.result(JOB.id)

    @DBOS.step(name="their_step")
    async def in_step() -> None:
        await submit()

    @DBOS.workflow(name="their_order")
    async def order() -> str:
        with SetWorkflowTimeout(0.1):
            await (in_step() if where == "step" else submit())
        return "ordered"

    await asyncio.to_thread(DBOS.launch)
    engine.start(body, ignore)
    assert await order() == "ordered"
    assert got == ["mine"]
    theirs = next(each for each in await DBOS.list_workflows_async() if each.name == "their_order")
    steps = await DBOS.list_workflow_steps_async(theirs.workflow_id)
    assert [each["function_name"] for each in steps] == ["their_step"] * (where == "step")
    await engine.close()
    await asyncio.to_thread(DBOS.destroy)
