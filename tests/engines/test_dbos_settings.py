"""How DBOS is set up: its connections to SQLite, its threads, what a stored workflow is."""

import asyncio
import sqlite3
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import dbos._dbos as dbos_inside
import pytest
from dbos import DBOS
from dbos._registrations import get_func_info
from sqlalchemy import Connection

from sidetask.core.errors import ConfigurationError
from sidetask.core.ids import TaskId
from sidetask.engines import dbos as module
from sidetask.engines.base import Context, JobSpec
from sidetask.engines.dbos import DbosEngine, sqlite_engine
from tests.stores.conftest import new_database, server

__all__ = ["server"]

pytestmark = pytest.mark.durable


@pytest.fixture
def anyio_backend() -> str:
    """DBOS has threads of its own, which wait for no virtual clock."""
    return "asyncio"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'dbos.db'}"


@pytest.fixture
def connection(url: str) -> Generator[Connection]:
    engine = sqlite_engine(url)
    with engine.connect() as made:
        yield made
    engine.dispose()


# -- connections to SQLite -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 1), ("busy_timeout", 30_000), ("foreign_keys", 1)],
)
def test_a_connection_is_quick_and_patient(
    connection: Connection, pragma: str, value: object
) -> None:
    assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value


def test_who_will_write_says_so_with_its_first_word(connection: Connection) -> None:
    said: list[str] = []
    cast("sqlite3.Connection", connection.connection.dbapi_connection).set_trace_callback(
        said.append
    )
    connection.exec_driver_sql("CREATE TABLE t (a)")
    connection.exec_driver_sql("INSERT INTO t VALUES (1)")
    connection.commit()
    assert "BEGIN IMMEDIATE" in said


@pytest.mark.parametrize("now", ["strftime('%s', 'now')", "unixepoch('subsec')"])
def test_time_is_told_in_parts_of_a_second_by_any_sqlite(connection: Connection, now: str) -> None:
    """In eighths, or finer."""
    parts: set[int] = set()
    for _ in range(500):
        before = time.time()
        told = connection.exec_driver_sql(f"SELECT CAST({now} * 1000 AS INTEGER)").scalar()
        assert isinstance(told, int)
        assert before - 0.126 < told / 1000 < time.time() + 0.002
        parts.add(told % 1000)
        if len(parts) == 3:
            return
        time.sleep(0.02)
    raise AssertionError(parts)


# -- the engine ------------------------------------------------------------------------------------


async def nothing(_: JobSpec, __: Context) -> None:
    """A body."""


async def test_its_threads_are_bounded_and_the_loop_gets_back_the_very_ones_it_had(
    url: str,
) -> None:
    loop = cast("Any", asyncio.get_running_loop())
    await asyncio.to_thread(int)
    before = loop._default_executor
    engine = DbosEngine(url, threads=20)
    engine.start(nothing, lambda _: None)
    engine.submit(JobSpec("t:1", TaskId("t"), 1, "t", "{}"))
    await engine.result("t:1")
    assert loop._default_executor is not before
    assert cast("Any", dbos_inside)._get_dbos_instance()._executor._max_workers == 20
    await engine.close()
    assert loop._default_executor is before
    assert 16 <= cast("Any", DbosEngine.__init__).__kwdefaults__["threads"] <= 32


@pytest.mark.parametrize("wrong", [{"url": 5}, {"existing": "dbos"}, {"threads": 0}])
def test_what_is_no_database_no_dbos_and_no_number_is_refused(
    url: str, wrong: dict[str, Any]
) -> None:
    given: dict[str, Any] = wrong if "existing" in wrong else {"url": url} | wrong
    with pytest.raises(ConfigurationError, match=r"is (of type|at least)"):
        DbosEngine(**given)
    assert not module._taken  # pyright: ignore[reportPrivateUsage] - nobody is kept out by it


async def test_each_process_is_an_executor_of_its_own_which_takes_up_nothing_of_others(
    url: str,
) -> None:
    for life in (1, 2):
        engine = DbosEngine(url)
        engine.start(nothing, lambda _: None)
        spec = JobSpec(f"t{life}:1", TaskId(f"t{life}"), 1, "t", "{}")
        engine.submit(spec)
        await engine.result(spec.id)
        found = await DBOS.list_workflows_async()
        await engine.close()
    assert len({each.executor_id for each in found}) == len(found) == 2


async def test_no_workflow_is_given_up_because_it_was_taken_up_often() -> None:
    job = cast("Any", module)._job
    assert cast("Any", get_func_info(job)).max_recovery_attempts is None


@pytest.mark.postgres
async def test_its_tables_are_in_a_schema_of_their_own_beside_those_of_an_application(
    server: str,
) -> None:
    import psycopg  # noqa: PLC0415 - no part of the unit suite

    url = new_database(server)
    engine = DbosEngine(url)
    await engine.open()
    await engine.close()
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT table_schema FROM information_schema.tables WHERE table_name = %s",
            ("workflow_status",),
        ).fetchall()
    assert ("sidetask_dbos",) in found
    assert ("dbos",) not in found
