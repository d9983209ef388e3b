"""Who lives, and what becomes of the work of who does not: with real connections and deaths."""

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from sidetask.core.errors import InvalidInputError, StoreClosedError, StoreUnavailableError
from sidetask.stores.base import Record, Store
from sidetask.stores.members import HOME, NOBODY
from sidetask.stores.queue import LOST
from sidetask.stores.sql.store import SqlStore
from sidetask.tasks.remote.values import ASKS, Ask
from sidetask.tasks.stored import HOMES, ORDERS, Home, Order
from tests.limits import HANG
from tests.stores.samples import KEY, C, D, a_member, conversation, job
from tests.stores.test_processes import line, running

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.parametrize("url", ["postgres"], indirect=True),
]


@pytest.fixture
def anyio_backend() -> str:
    """A server has no virtual clock."""
    return "asyncio"


@pytest.fixture
async def stores(opened: Callable[[], Store]) -> list[Store]:
    found = [opened(), opened(), opened()]
    for store in found:
        await store.start()
    return found


async def living(store: Store) -> list[str]:
    return [each.id for each in await store.members.living()]


def ask_server(url: str, sql: str) -> list[tuple[Any, ...]]:
    import psycopg  # noqa: PLC0415 - no part of the unit suite

    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(sql.encode()).fetchall()


def cut(url: str) -> None:
    """End the connections that hold locks, from outside."""
    ask_server(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
        "AND objsubid = 2",
    )


@asynccontextmanager
async def dead(url: str, name: str) -> AsyncGenerator[list[str]]:
    """A member in another process, killed with what it has claimed."""
    async with running(url, "member", name) as process:
        claimed = (await line(process)).split()
        process.kill()
        await process.wait()
        yield claimed


async def becomes(condition: Callable[[], Any], *, within: float = HANG) -> None:
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110 - a server tells nobody
            await asyncio.sleep(0.01)


# -- joining and leaving -----------------------------------------------------------------------


async def test_who_joins_is_seen_until_it_leaves(stores: list[Store]) -> None:
    here, there, _ = stores
    mine = await here.members.join(a_member("a"))
    theirs = await there.members.join(a_member("b", role="home"))
    assert list(await here.members.living()) == [a_member("a"), a_member("b", role="home")]
    await mine.update(a_member("a", draining=True))
    assert mine.member.draining
    assert [each.draining for each in await there.members.living()] == [True, False]
    with pytest.raises(InvalidInputError, match="keeps its id: 'a'"):
        await mine.update(a_member("b"))
    await mine.leave()
    await mine.leave()
    assert (await living(there), mine.lost.is_set()) == (["b"], False)
    await theirs.leave()
    assert await living(there) == []


async def test_a_store_that_closes_leaves(stores: list[Store], url: str) -> None:
    here, there, _ = stores
    await here.members.join(a_member("a"))
    await here.close()
    assert await living(there) == []
    assert ask_server(url, "SELECT count(*) FROM sidetask.members") == [(0,)]


async def test_what_a_member_has_when_it_leaves_is_reaped(stores: list[Store]) -> None:
    here, there, _ = stores
    there.queue.enqueue(job())
    there.queue.enqueue(job("task-2:1", on_crash="fail"))
    await there.stored()
    mine = await here.members.join(a_member("a"))
    assert len(await here.queue.claim("a", [KEY], limit=9)) == 2
    await mine.leave()
    found = await there.queue.find()
    assert [(each.status, each.result) for each in found] == [("queued", None), ("ended", LOST)]


def locks(url: str) -> int:
    """How many members hold a lock, each by a connection of its own."""
    held = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted"
    return len(ask_server(url, held))


async def test_who_leaves_lets_its_connection_go_also_when_nobody_can_be_told(
    stores: list[Store], url: str
) -> None:
    here, there, _ = stores
    mine = await here.members.join(a_member("a"))
    theirs = await there.members.join(a_member("b"))

    async def is_gone() -> bool:
        return locks(url) == 1

    async def are_gone() -> bool:
        return locks(url) == 0

    assert locks(url) == 2
    await mine.leave()
    await becomes(is_gone)
    assert isinstance(there, SqlStore)
    await there._line.close()  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(StoreClosedError):
        await theirs.leave()
    await becomes(are_gone)
    assert not theirs.lost.is_set()


async def test_nobody_sees_who_joins_before_it_has_its_lock(stores: list[Store], url: str) -> None:
    """It would look dead."""
    import psycopg  # noqa: PLC0415 - no part of the unit suite

    here, there, _ = stores
    first = await here.members.join(a_member("a"))
    [(place,)] = ask_server(url, "SELECT place FROM sidetask.members")
    [(lives,)] = ask_server(url, "SELECT classid::bigint FROM pg_locks WHERE objsubid = 2")

    async def is_waiting() -> bool:
        return bool(ask_server(url, "SELECT 1 FROM pg_locks WHERE NOT granted"))

    async with asyncio.TaskGroup() as group:
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("SELECT pg_advisory_lock(%s, %s)", (lives, place + 1))
            joining = group.create_task(here.members.join(a_member("b")))
            await becomes(is_waiting)
            assert ask_server(url, "SELECT id FROM sidetask.members") == [("a",)]
            assert list(await first.reap()) == []
    assert await living(there) == ["a", "b"]
    await joining.result().leave()
    await first.leave()


async def test_two_members_of_one_name_do_not_live_at_once(stores: list[Store], url: str) -> None:
    here, there, _ = stores
    first = await here.members.join(a_member("a"))
    with pytest.raises(StoreUnavailableError, match="'a' is not known to be dead"):
        await there.members.join(a_member("a", role="home"))
    assert list(await there.members.living()) == [a_member("a")]
    cut(url)
    await asyncio.wait_for(first.lost.wait(), HANG)
    again = await there.members.join(a_member("a", role="home"))
    assert list(await here.members.living()) == [a_member("a", role="home")]
    await again.leave()


async def test_who_is_cancelled_while_it_joins_is_no_member(stores: list[Store], url: str) -> None:
    import psycopg  # noqa: PLC0415 - no part of the unit suite

    here, there, _ = stores
    waiting = "SELECT 1 FROM pg_locks WHERE NOT granted"

    async def is_waiting() -> bool:
        return bool(ask_server(url, waiting))

    async def is_over() -> bool:
        locked = ask_server(url, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'")
        return ask_server(url, "SELECT id FROM sidetask.members") == [("a",)] and not locked

    async with asyncio.TaskGroup() as group:
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE sidetask.members IN EXCLUSIVE MODE")
            joining = group.create_task(here.members.join(a_member("a")))
            await becomes(is_waiting)
            joining.cancel()
            await asyncio.wait({joining})
    assert joining.cancelled()
    await becomes(is_over)
    assert await living(there) == []
    theirs = await there.members.join(a_member("a"))  # the name is free
    assert await living(there) == ["a"]
    await theirs.leave()


def ours(url: str) -> int:
    """How many connections this process has to the server."""
    [(found,)] = ask_server(
        url, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sidetask'"
    )
    return found


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == "sidetask-member"]


async def test_who_leaves_or_cannot_join_leaves_no_connection_and_no_thread(
    stores: list[Store], url: str
) -> None:
    here, there, _ = stores
    before = ours(url)
    first = await here.members.join(a_member("a"))
    assert len(threads()) == 1
    with pytest.raises(StoreUnavailableError, match="not known to be dead"):
        await there.members.join(a_member("a"))

    async def has_one() -> bool:
        return ours(url) == before + 1 and len(threads()) == 1

    async def has_none() -> bool:
        return ours(url) == before and threads() == []

    await becomes(has_one)
    await first.leave()
    await becomes(has_none)


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_who_is_cut_off_while_it_joins_is_told_and_nobody_else(
    stores: list[Store], url: str, is_cancelled: bool
) -> None:
    import psycopg  # noqa: PLC0415 - no part of the unit suite

    here, loop = stores[0], asyncio.get_running_loop()
    told: list[object] = []
    loop.set_exception_handler(lambda _, context: told.append(context))

    async def is_waiting() -> bool:
        return bool(ask_server(url, "SELECT 1 FROM pg_locks WHERE NOT granted"))

    async def is_over() -> bool:
        return threads() == []

    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE sidetask.members IN EXCLUSIVE MODE")
        joining = asyncio.ensure_future(here.members.join(a_member("a")))
        await becomes(is_waiting)
        if is_cancelled:
            joining.cancel()
            await asyncio.wait({joining})
        ask_server(url, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted")
        await asyncio.wait({joining})
    if is_cancelled:
        assert joining.cancelled()
    else:
        with pytest.raises(StoreUnavailableError, match="Postgres: "):
            joining.result()
    await becomes(is_over)
    await asyncio.sleep(0)  # what the thread has called in the loop is done
    del joining
    gc.collect()
    assert told == []
    assert await living(here) == []


async def test_others_hear_of_who_comes_changes_and_goes(stores: list[Store]) -> None:
    here, there, _ = stores
    heard = asyncio.Queue[str | None]()
    conversations: list[str | None] = []
    ends = [there.queue.listen(heard.put_nowait), there.listen(conversations.append)]
    async with asyncio.timeout(HANG):
        assert await heard.get() is None  # it listens, and is told so
        conversations.clear()
        mine = await here.members.join(a_member("a"))
        assert await heard.get() is None
        await mine.update(a_member("a", draining=True))
        assert await heard.get() is None
        await mine.leave()
        assert await heard.get() is None
    assert conversations == []
    for end in ends:
        end()


async def test_a_member_of_another_release_is_no_obstacle(stores: list[Store], url: str) -> None:
    here, there, _ = stores
    mine = await here.members.join(a_member("a"))
    newer = await there.members.join(a_member("b"))
    ask_server(
        url,
        """UPDATE sidetask.members SET data = '{"v": 99}' WHERE id = 'b' RETURNING 1""",
    )
    assert await living(here) == ["a"]
    assert await mine.reap() == []
    await newer.update(replace(newer.member, draining=True))
    assert await living(here) == ["a", "b"]


# -- dying -------------------------------------------------------------------------------------


async def test_a_killed_member_is_reaped_as_soon_as_somebody_looks(
    stores: list[Store], url: str
) -> None:
    here = stores[0]
    for word in ("retry", "fail"):
        here.queue.enqueue(job(f"{word}:1", on_crash=word))
    await here.stored()
    mine = await here.members.join(a_member("a"))
    reaped: list[tuple[str, str]] = []

    async def looks() -> bool:
        reaped.extend((each.id, each.status) for each in await mine.reap())
        return bool(reaped)

    async with dead(url, "b") as claimed:
        assert claimed == ["retry:1", "fail:1"]
        # Long before the server would look for a machine that says nothing.
        await becomes(looks, within=20)
    assert reaped == [("retry:1", "queued"), ("fail:1", "ended")]
    assert await living(here) == ["a"]
    assert ask_server(url, "SELECT id FROM sidetask.members") == [("a",)]
    assert [each.id for each in await here.queue.claim("a", [KEY], limit=9)] == ["retry:1"]


async def test_of_many_survivors_one_reaps(stores: list[Store], url: str) -> None:
    for number in range(20):
        stores[0].queue.enqueue(job(f"task-{number}:1"))
    await stores[0].stored()
    members = [
        await store.members.join(a_member(name)) for store, name in zip(stores, "abc", strict=True)
    ]
    async with dead(url, "d") as claimed:
        found: list[str] = []

        async def reap(which: int) -> None:
            while len(found) < 20:
                found.extend(each.id for each in await members[which].reap())

        async with asyncio.timeout(HANG), asyncio.TaskGroup() as group:
            for which in range(3):
                group.create_task(reap(which))
    assert found == claimed
    jobs = await stores[0].queue.find()
    assert {(each.status, each.claims) for each in jobs} == {("queued", 1)}


async def test_a_living_member_is_never_reaped_however_old_its_row(stores: list[Store]) -> None:
    here, there, _ = stores
    here.queue.enqueue(job())
    await here.stored()
    mine = await here.members.join(a_member("a", started_at=0.0))
    await here.queue.claim("a", [KEY], limit=1)
    theirs = await there.members.join(a_member("b"))
    for _ in range(20):
        assert await theirs.reap() == []
    assert await living(there) == ["a", "b"]
    assert await here.queue.finish("task-1:1", "a", {"ok": 1})
    assert not mine.lost.is_set()


async def test_who_lost_its_connection_is_told_and_its_late_words_are_refused(
    stores: list[Store], url: str
) -> None:
    here, there, _ = stores
    here.queue.enqueue(job())
    await here.stored()
    mine = await here.members.join(a_member("a"))
    await here.queue.claim("a", [KEY], limit=1)
    cut(url)
    await asyncio.wait_for(mine.lost.wait(), HANG)
    theirs = await there.members.join(a_member("b"))
    assert await mine.reap() == []  # nobody reaps itself
    assert [each.id for each in await theirs.reap()] == ["task-1:1"]
    assert not await here.queue.finish("task-1:1", "a", {"late": True})
    here.queue.note("task-1:1", "a", {"late": True})
    assert (await here.queue.find())[0].progress is None
    await mine.leave()
    assert await living(here) == ["b"]


async def test_who_was_reaped_and_does_not_know_is_told_when_it_changes(
    stores: list[Store], url: str
) -> None:
    mine = await stores[0].members.join(a_member("a"))
    ask_server(url, "DELETE FROM sidetask.members RETURNING 1")
    await mine.update(mine.member)
    assert mine.lost.is_set()


async def test_what_is_claimed_under_a_name_that_is_gone_is_reaped(stores: list[Store]) -> None:
    here, there, _ = stores
    here.queue.enqueue(job())
    await here.stored()
    await here.queue.claim("gone", [KEY], limit=1)
    mine = await there.members.join(a_member("a"))
    assert [(each.id, each.status) for each in await mine.reap()] == [("task-1:1", "queued")]
    assert await mine.reap() == []


async def test_what_a_question_says_hides_no_conversation_that_has_something_to_do(
    stores: list[Store], url: str
) -> None:
    """Nor does a damaged one: what a model says may hold what Postgres takes for no JSON."""
    asker, other = stores[0], stores[1]
    for number, reason in enumerate(["\0", "\ud800", "plain"]):
        asked = Ask(job_id=f"task-{number}:1", reason=reason)
        asker.put(
            Record(kind=ASKS, conversation_id=C, id=f"{number}", status="open", at=0.0, value=asked)
        )
    asker.save(conversation(D))
    asker.put(Record(kind=HOMES, conversation_id=D, id=HOME, status=NOBODY, at=0.0, value=Home()))
    order = Order(kind="send", text="hello")
    asker.put(Record(kind=ORDERS, conversation_id=D, id="1", status="open", at=0.0, value=order))
    await asker.stored()
    damage = "UPDATE sidetask.records SET data = '{' WHERE kind = 'ask' AND id = '2' RETURNING 1"
    assert ask_server(url, damage)
    [found] = await other.members.forsaken([conversation(D).agent], limit=9)
    assert (found.conversation_id, found.had_by) == (D, NOBODY)
