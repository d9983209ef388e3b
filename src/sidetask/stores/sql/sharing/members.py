"""Members, in a table, and the locks that tell which of them live.

A member's row and its lock are made on a connection of its own, in one transaction: nobody sees
the row without the lock. The lock's number is the row's place, so no two members share one, and
whoever comes back under an id that is dead has another one. All else is written over the store's
line. Reaping is one transaction, too: the dead member's lock, its row, its jobs.
"""

import asyncio
import socket
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import suppress

from sidetask.core.codec import value_from_json, value_to_json
from sidetask.core.errors import (
    InvalidInputError,
    StoreCorruptError,
    StoreError,
    StoreUnavailableError,
)
from sidetask.stores.bounds import check_name, written
from sidetask.stores.members import Forsaken, Member, Members, Membership
from sidetask.stores.queue import MAX_CLAIMS, StoredJob
from sidetask.stores.sql.driver import JOBS, Connection, Driver, Locks
from sidetask.stores.sql.line import Line
from sidetask.stores.sql.rows import read
from sidetask.stores.sql.sharing.forsaken import find_forsaken
from sidetask.stores.sql.sharing.queue import SqlQueue
from sidetask.stores.sql.thread import Worker

_INSERT = "INSERT INTO sidetask_members (id, data) VALUES (?, ?) ON CONFLICT (id) DO NOTHING"
_PLACE = "SELECT place FROM sidetask_members WHERE id = ?"
_UPDATE = "UPDATE sidetask_members SET data = ? WHERE id = ?"
_DELETE = "DELETE FROM sidetask_members WHERE id = ?"
_LIVING = "SELECT id, data FROM sidetask_members WHERE place IN ({held}) ORDER BY place"
_DEAD = "SELECT id, place FROM sidetask_members WHERE id <> ? AND place NOT IN ({held})"
_OWNERS = """SELECT DISTINCT owner FROM sidetask_jobs WHERE status IN ('running', 'cancelling')
    AND owner <> ? AND owner NOT IN (SELECT id FROM sidetask_members)"""
"""Owners that are no members: they claimed after they were reaped, and did not know it yet."""


class SqlMembers(Members):
    """`Members`, over a line to a database that has locks."""

    def __init__(self, driver: Driver, locks: Locks, line: Line, queue: SqlQueue) -> None:
        self._driver = driver
        self.locks = locks
        self.line = line
        self.queue = queue
        self.here: set[SqlMembership] = set()
        """The members of this process."""

    async def join(self, member: Member) -> Membership:
        check_name("the id of a member", member.id)
        text = _text(member)
        await self.line.open()  # the tables are there
        joined = SqlMembership(self, member)
        joined.lease = _Lease(self._driver, self.locks, joined.lost)
        await joined.lease.start(lambda db: self._enter(db, member.id, text))
        self.here.add(joined)
        return joined

    def _enter(self, db: Connection, id: str, text: str) -> None:
        """Make the row and take the lock. Not by `commit`, which would go on with another
        connection if it had to, and without the lock."""
        db.run("BEGIN")
        db.run(f"{_DELETE} AND place NOT IN ({self.locks.held})", (id,))
        if not db.run(_INSERT, (id, text)):
            raise StoreUnavailableError(
                f"a member {id!r} is not known to be dead", "join under an id of its own"
            )
        self.locks.take(db, db.rows(_PLACE, (id,))[0][0])
        db.tell([JOBS])
        db.run("COMMIT")

    async def living(self) -> Sequence[Member]:
        sql = _LIVING.format(held=self.locks.held)
        found = await self.line.read(lambda db: db.rows(sql))
        members = (_member(id, text) for id, text in found)
        return [member for member in members if member is not None]

    async def forsaken(self, agents: Collection[str], *, limit: int) -> Sequence[Forsaken]:
        if not agents or limit < 1:
            return []
        driver, held = self._driver, self.locks.held
        return await self.line.read(lambda db: find_forsaken(db, driver, held, agents, limit))

    async def close(self) -> None:
        """Let the members of this process leave."""
        for each in tuple(self.here):
            with suppress(StoreError):  # then others will find it dead
                await each.leave()


class SqlMembership(Membership):
    """A member's row, and the connection that has its lock."""

    lease: "_Lease"

    def __init__(self, members: SqlMembers, member: Member) -> None:
        self._members = members
        self.member = member
        self.lost = asyncio.Event()
        self._left = False

    async def update(self, member: Member) -> None:
        if member.id != self.member.id:
            raise InvalidInputError(f"a member keeps its id: {self.member.id!r}")
        row = (_text(member), member.id)
        if not await self._members.line.ask(JOBS, lambda db: db.run(_UPDATE, row)):
            self.lost.set()  # it was taken for dead
        self.member = member

    async def leave(self) -> None:
        if self._left:
            return
        self._left = True

        def leave(db: Connection) -> None:
            self._members.queue.reaped(db, self.member.id, MAX_CLAIMS)
            db.run(_DELETE, (self.member.id,))

        try:
            await self._members.line.ask(JOBS, leave)
        finally:
            self._members.here.discard(self)
            self.lease.end()

    async def reap(self, *, max_claims: int = MAX_CLAIMS) -> Sequence[StoredJob]:
        me, line, locks = self.member.id, self._members.line, self._members.locks
        dead = _DEAD.format(held=locks.held)

        def is_any(db: Connection) -> bool:
            return bool(db.rows(dead, (me,)) or db.rows(_OWNERS, (me,)))

        def reap(db: Connection) -> list[StoredJob]:
            # Who has the lock may still be late: another one has reaped it, and the row is gone.
            owners = [
                id
                for id, place in db.rows(dead, (me,))
                if locks.try_for_now(db, place) and db.run(f"{_DELETE} AND place = ?", (id, place))
            ]
            if owners:
                db.tell([JOBS])
            owners += [owner for (owner,) in db.rows(_OWNERS, (me,)) if owner not in owners]
            return [
                job
                for owner in sorted(owners)
                for job in self._members.queue.reaped(db, owner, max_claims)
            ]

        return await line.ask(None, reap) if await line.read(is_any) else []


class _Lease:
    """A thread with a connection that has a lock, until it is told to end or the connection
    breaks. It sleeps until then."""

    def __init__(self, driver: Driver, locks: Locks, lost: asyncio.Event) -> None:
        self._driver = driver
        self._locks = locks
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._worker = Worker("sidetask-member")
        self._connection: Connection | None = None
        self._ended = False
        self._waker, self._woken = socket.socketpair()

    async def start(self, take: Callable[[Connection], None]) -> None:
        """Return when the lock is held."""
        taking = self._loop.run_in_executor(self._worker, self._take, take)
        try:
            await asyncio.wait({taking})
        except asyncio.CancelledError:
            taking.add_done_callback(_retrieve)
            self.end()
            raise
        finally:
            self._worker.submit(self._wait).add_done_callback(self._say)
            self._worker.shutdown()
        taking.result()

    def end(self) -> None:
        """Give the lock back."""
        self._ended = True
        with suppress(OSError):  # the thread has ended, and closed it
            self._waker.send(b"\0")

    # -- in the thread -------------------------------------------------------------------------

    def _take(self, take: Callable[[Connection], None]) -> None:
        try:
            self._connection = _holding(self._driver.open(), take)
        except Exception as error:  # the one boundary: a library's errors become ours
            failure = self._driver.translate(error)
            if isinstance(failure, StoreError) and failure is not error:
                raise failure from error
            raise

    def _wait(self) -> None:
        with self._waker, self._woken:
            if self._connection is not None:
                try:
                    self._locks.wait(self._connection, self._woken)
                finally:
                    self._connection.close()

    def _say(self, waiting: "Future[None]") -> None:
        """The connection is closed. That it broke is known, and nobody asks why."""
        if not self._ended:
            with suppress(RuntimeError):  # the loop is closed: nobody wants to know
                self._loop.call_soon_threadsafe(self._lost.set)


def _holding(connection: Connection, take: Callable[[Connection], None]) -> Connection:
    try:
        take(connection)
    except BaseException:  # the one boundary: no connection is left open
        connection.close()
        raise
    return connection


def _retrieve(taking: "asyncio.Future[None]") -> None:
    if not taking.cancelled():
        taking.exception()


def _text(member: Member) -> str:
    return written(value_to_json(Member, member))


def _member(id: str, text: str) -> Member | None:
    """A member, unless it is of a release that says what this one cannot read."""
    try:
        return read(f"member {id}", text, lambda data: value_from_json(Member, data))
    except StoreCorruptError:
        return None
