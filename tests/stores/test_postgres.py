"""What only a database on a server can do: be cut off, and come back."""

import asyncio
from typing import Any

import pytest

from sidetask.core.errors import InvalidInputError, StoreUnavailableError
from sidetask.stores.opening import open_store
from tests.limits import HANG
from tests.stores.conftest import new_database
from tests.stores.samples import KEY, QUESTION, C, a_member, entry, fact, job, question

pytestmark = pytest.mark.postgres


async def test_a_connection_that_is_lost_is_made_again_and_nothing_is_lost(server: str) -> None:
    import psycopg  # noqa: PLC0415 - no part of the unit suite

    url = new_database(server)
    store = open_store(url)
    store.append(fact(1))
    await store.stored()
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'sidetask' AND datname = current_database()"
        )
    store.append(fact(2))
    with pytest.raises(StoreUnavailableError):
        await store.stored()
    await store.stored()
    store.append(fact(3))
    assert [each.seq for each in await store.facts(C)] == [1, 2, 3]
    await store.close()


async def test_a_server_that_may_only_be_read_for_a_while_is_written_to_when_it_may(
    server: str,
) -> None:
    """As a standby that was made the server. Sessions that it had before stay as they were."""
    import psycopg  # noqa: PLC0415 - no part of the unit suite

    url = new_database(server)
    before = open_store(url)
    await before.start()
    await before.close()
    set_role = "ALTER ROLE CURRENT_USER {} default_transaction_read_only"
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(f"{set_role.format('SET')} = on")
        try:
            store = open_store(url)
            store.append(fact(1))
            with pytest.raises(StoreUnavailableError, match="read-only"):
                await store.stored()
        finally:
            other.execute(set_role.format("RESET"))
    await store.stored()
    assert [each.seq for each in await store.facts(C)] == [1]
    await store.close()


async def test_who_began_earlier_and_commits_later_is_read_too(server: str) -> None:
    import psycopg  # noqa: PLC0415 - no part of the unit suite

    url = new_database(server)
    store = open_store(url)
    store.save_state(C, [entry("first", 1)])
    await store.stored()
    with psycopg.connect(url) as slow:
        slow.execute(
            "INSERT INTO sidetask.state SELECT space, owner, 'slow', version, at,"
            " replace(data, 'first', 'slow'), pg_current_xact_id()::text::bigint"
            " FROM sidetask.state"
        )
        store.save_state(C, [entry("second", 2)])
        read = await store.read_state([("conversation", C)])
        assert [each.key for _, each in read.entries] == ["first", "second"]
        slow.commit()
    read = await store.read_state([("conversation", C)], after=read.mark)
    assert "slow" in [each.key for _, each in read.entries]
    read = await store.read_state([("conversation", C)], after=read.mark)
    assert read.entries == []
    await store.close()


class CutOff:
    """A connection that breaks when it commits: before the server hears of it, or after."""

    broken = True

    def __init__(self, made: Any, *, is_heard: bool) -> None:
        self._made = made
        self._is_heard = is_heard

    def execute(self, sql: object, *values: Any) -> Any:
        import psycopg  # noqa: PLC0415 - no part of the unit suite

        if sql != "COMMIT":
            return self._made.execute(sql, *values)
        if self._is_heard:
            self._made.execute(sql)
        self._made.close()
        raise psycopg.OperationalError("cut off")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made, name)


@pytest.mark.parametrize("is_heard", [True, False])
def test_a_commit_that_was_cut_off_is_known_to_have_happened_or_not(
    server: str, is_heard: bool
) -> None:
    import psycopg  # noqa: PLC0415 - no part of the unit suite

    from sidetask.stores.sql.postgres import PostgresDriver  # noqa: PLC0415 - as above

    connection = PostgresDriver(new_database(server)).open()
    connection.run("CREATE TABLE t (x TEXT)")
    connection._made = CutOff(connection._made, is_heard=is_heard)  # pyright: ignore
    connection.begin()
    connection.run("INSERT INTO t VALUES (?)", ("here",))
    if is_heard:
        connection.commit()
    else:
        with pytest.raises(psycopg.OperationalError, match="cut off"):
            connection.commit()
    assert connection.rows("SELECT x FROM t") == [("here",)] * is_heard
    connection.close()


async def test_two_processes_that_would_wait_for_each_other_both_get_through(server: str) -> None:
    """Their batches take the same rows in opposite orders, many times."""
    url = new_database(server)
    stores = [open_store(url), open_store(url)]
    for store in stores:
        await store.start()
    for round in range(1, 60):
        for number, store in enumerate(stores):
            for id in "abcdefghij" if number else "jihgfedcba":
                store.put(question(id, decided_by=str(round)))
        for store in stores:
            await store.stored()
    for store in stores:
        assert {each.value.decided_by for each in await store.find(QUESTION)} == {"59"}
        await store.close()


async def test_a_name_that_no_database_takes_is_the_askers_mistake(server: str) -> None:
    store = open_store(new_database(server))
    with pytest.raises(InvalidInputError, match="NUL"):
        await store.queue.get("a\0b")
    with pytest.raises(InvalidInputError, match="NUL"):
        await store.queue.cancel("a\0b")
    store.queue.note("a\0b", "w", {})  # refused, and holds up nothing
    store.append(fact(1))
    assert [each.seq for each in await store.facts(C)] == [1]
    await store.close()


async def test_a_machine_that_went_away_is_noticed_on_each_connection(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg  # noqa: PLC0415 - no part of the unit suite

    made: list[psycopg.Connection[Any]] = []
    connect = psycopg.connect

    def noted(*args: Any, **options: Any) -> Any:
        made.append(connect(*args, **options))
        return made[-1]

    monkeypatch.setattr(psycopg, "connect", noted)
    store = open_store(new_database(server))
    made.clear()  # the connection that has emptied the database
    heard = asyncio.Event()
    end = store.listen(lambda _: heard.set())
    joined = await store.members.join(a_member("w"))
    await store.last_seq(C)
    await heard.wait()
    asked = [each.info.get_parameters() for each in made]
    await joined.leave()
    end()
    await store.close()
    assert len(asked) >= 3, "it writes, listens, and holds its lock"
    for each in asked:
        assert int(each["keepalives_idle"]) <= 10
        assert int(each["keepalives_interval"]) * int(each["keepalives_count"]) <= 15


async def test_who_ends_a_job_while_it_is_taken_away_is_told_that_it_was_too_late(
    server: str,
) -> None:
    import psycopg  # noqa: PLC0415 - no part of the unit suite

    url = new_database(server)
    store = open_store(url)
    store.queue.enqueue(job())
    await store.queue.claim("w", [KEY], limit=1)

    def wait_until_it_waits() -> None:
        with psycopg.connect(url, autocommit=True) as looking:
            while not looking.execute(
                "SELECT 1 FROM pg_stat_activity"
                " WHERE application_name = 'sidetask' AND wait_event_type = 'Lock'"
            ).fetchall():
                pass

    with psycopg.connect(url) as taking:
        taking.execute("UPDATE sidetask.jobs SET status = 'queued', owner = NULL")
        ending = asyncio.ensure_future(store.queue.finish("task-1:1", "w", {"late": True}))
        async with asyncio.timeout(HANG):
            await asyncio.to_thread(wait_until_it_waits)
        taking.commit()
    assert not await ending
    [found] = await store.queue.find()
    assert (found.status, found.result) == ("queued", None)
    await store.close()
