"""A store is found by its URL, or an error says what a URL looks like."""

import subprocess
import sys
from pathlib import Path

import pytest

from sidetask.core.errors import ConfigurationError, StoreUnavailableError
from sidetask.stores.memory import MemoryStore
from sidetask.stores.opening import open_store
from tests.stores.samples import fact


def test_memory_is_a_store_that_forgets() -> None:
    assert isinstance(open_store("memory:"), MemoryStore)
    assert not open_store("memory:").durable


async def test_a_file_may_be_named_relative_absolute_and_with_blanks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for url in (
        "sqlite:///here.db",
        f"sqlite:///{tmp_path}/there.db",
        "sqlite:///a%20b.db",
        "sqlite:///c#d.db",
    ):
        store = open_store(url)
        store.append(fact(1))
        await store.close()
        assert store.durable
    found = {path.name for path in tmp_path.glob("*.db")}  # noqa: ASYNC240 - a test's folder
    assert found == {"here.db", "there.db", "a b.db", "c#d.db"}


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "no store ''"),
        ("file.db", "'memory:', 'sqlite:///file.db' or 'postgresql://user@host/database'"),
        ("memory", "no store 'memory'"),
        ("postgres:x", "no store 'postgres:x'"),
        ("mysql://ana:secret@host/db", r"no store 'mysql://ana:\*\*\*@host/db'"),
        ("mysql://ana:secret@[::1/db", r"no store 'mysql://ana:\*\*\*@"),
        ("sqlite://[::1/file.db", "names no file"),
        ("sqlite://file.db", "names no file: it is 'sqlite:///file.db'"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "'memory:' is the store that forgets"),
        ("sqlite:///file.db?mode=ro", "names no file"),
    ],
)
def test_a_url_that_names_no_store_says_what_one_looks_like(url: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        open_store(url)


def test_without_its_library_a_postgres_store_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from sidetask.stores.opening import open_store\n"
        "try: open_store('postgresql://x')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "MissingExtraError a Postgres store needs an extra: pip install 'sidetask[durable]'"
    )


@pytest.mark.postgres
async def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    store = open_store(f"postgresql:///db?host={tmp_path}")
    with pytest.raises(StoreUnavailableError, match="check that the server runs"):
        await store.start()
    await store.close()


@pytest.mark.postgres
async def test_a_database_that_is_not_there_is_named(server: str) -> None:
    store = open_store(server.replace("/postgres?", "/nothing_here?"))
    with pytest.raises(ConfigurationError, match="nothing_here"):
        await store.start()
    await store.close()


@pytest.mark.postgres
async def test_what_is_no_postgres_url_is_refused() -> None:
    store = open_store("postgresql://host/db?colour=blue")
    with pytest.raises(ConfigurationError, match=r"no URL of a database: .*colour"):
        await store.start()
    await store.close()


@pytest.mark.postgres
@pytest.mark.parametrize(
    "place", ["ana:se%zzcret@host/db", "ana:secret@[::1/db", "ana:se%00cret@host/db"]
)
async def test_what_is_said_of_a_url_does_not_tell_its_password(place: str) -> None:
    store = open_store(f"postgresql://{place}")
    with pytest.raises(ConfigurationError, match="in a password @ is written %40") as told:
        await store.start()
    assert "cret" not in str(told.value)
    await store.close()


@pytest.mark.postgres
async def test_a_host_that_begins_in_a_password_is_not_told() -> None:
    store = open_store("postgresql://ana:se@cret@host.invalid/db")
    with pytest.raises(StoreUnavailableError, match="failed to resolve") as told:
        await store.start()
    assert "cret" not in str(told.value)
    await store.close()
