"""The queue, in a table.

What becomes of a job is decided by `stores.jobs`, on a row that nobody else can change meanwhile.
Claimers step over rows that another one is about to take, so none waits for the other. A look
that finds nothing writes nothing.

A row whose JSON is damaged is still a job: it has a status, an owner and an `on_crash`, so it can
be cancelled, reaped and looked at, and holds up no other. What it held is empty; who would claim it
parks it instead, and who waits for its result is told that there is none to be read.
"""

import time
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

from sidetask.core.errors import ConversationTakenError, StoreCorruptError
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.jsons import JsonObject
from sidetask.stores import jobs
from sidetask.stores.bounds import written
from sidetask.stores.members import HOME
from sidetask.stores.queue import JOBS as PAGE
from sidetask.stores.queue import MAX_CLAIMS, JobStatus, NewJob, Queue, StoredJob
from sidetask.stores.sql.driver import JOBS, Connection, Driver, Row
from sidetask.stores.sql.line import Line
from sidetask.stores.sql.rows import plain, read
from sidetask.stores.sql.sharing.bus import Bus

Decide: TypeAlias = Callable[[StoredJob], StoredJob | None]

_ENQUEUE = """INSERT INTO sidetask_jobs
    (id, conversation_id, task_id, key, fingerprint, on_crash, at, data, status, claims)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'queued', 0) ON CONFLICT (id) DO NOTHING"""
_SELECT = """SELECT id, conversation_id, task_id, key, fingerprint, on_crash, at, data, status,
    owner, claims, claimed_at, ended_at, progress, result, error FROM sidetask_jobs"""
_THIS = _SELECT + " WHERE id = ?"
_CHANGE = """UPDATE sidetask_jobs SET status = ?, owner = ?, claims = ?, claimed_at = ?,
    ended_at = ?, progress = ?, result = ?, error = ? WHERE id = ?"""
_NOTE = """UPDATE sidetask_jobs SET progress = ?
    WHERE id = ? AND owner = ? AND status IN ('running', 'cancelling')"""
_PARK = "UPDATE sidetask_jobs SET status = 'parked', error = ? WHERE id = ?"
_HOME = "SELECT status FROM sidetask_records WHERE kind = ? AND conversation_id = ? AND id = ?"
_OWNED = " WHERE owner = ? AND status IN ('running', 'cancelling') ORDER BY place"
_PLACE = "SELECT place FROM sidetask_jobs WHERE id = ? AND status = 'queued'"
_BEFORE = "SELECT count(*) FROM sidetask_jobs WHERE status = 'queued' AND place < ?"


class SqlQueue(Queue):
    """`Queue`, over a line to a database."""

    def __init__(
        self, driver: Driver, line: Line, bus: Bus, *, now: Callable[[], float] = time.time
    ) -> None:
        self._driver = driver
        self._line = line
        self._bus = bus
        self._now = now

    def enqueue(self, job: NewJob) -> None:
        new = jobs.stored_job(job)
        row = (
            new.id,
            new.conversation_id,
            new.task_id,
            new.key,
            new.fingerprint,
            new.on_crash,
            new.at,
            _text(new.data),
        )
        # As part of its conversation: a process that may not go on with that one starts nothing.
        self._line.hand_over(_enqueue, new.conversation_id, row)

    async def claim(
        self, owner: str, keys: Collection[str], *, limit: int, job_id: str | None = None
    ) -> Sequence[StoredJob]:
        if not keys or limit < 1:
            return []
        where, values = f" WHERE status = 'queued' AND key IN ({_places(keys)})", [*keys]
        if job_id is not None:
            where += " AND id = ?"
            values.append(job_id)
        look = f"SELECT 1 FROM sidetask_jobs{where} LIMIT 1"  # noqa: S608 - places
        if not await self._line.read(lambda db: db.rows(look, values)):
            return []
        take = f"{_SELECT}{where} ORDER BY place LIMIT ?{self._driver.skip_locked}"

        def claim(db: Connection) -> list[StoredJob]:
            rows = db.rows(take, [*values, limit])
            found = [job for row in rows if (job := _readable(db, row)) is not None]
            return _all(db, found, lambda job: jobs.claimed(job, owner, self._now()))

        return await self._line.ask(None, claim)

    async def finish(self, job_id: str, owner: str, result: JsonObject) -> bool:
        done, _ = await self._change(
            job_id, lambda job: jobs.finished(job, owner, result, self._now())
        )
        return done

    async def hand_back(self, owner: str, job_ids: Collection[str] | None = None) -> int:
        def decide(job: StoredJob) -> StoredJob | None:
            if job_ids is not None and job.id not in job_ids:
                return None
            return jobs.handed_back(job, owner, self._now())

        return len(await self._line.ask(None, lambda db: self._owned(db, owner, decide)))

    def note(self, job_id: str, owner: str, progress: JsonObject) -> None:
        self._line.hand_over(_note, JOBS + job_id, (_text(progress), job_id, owner))

    async def cancel(
        self, job_id: str, reason: str = "", *, had_by: Collection[str] | None = None
    ) -> StoredJob | None:
        why = plain(reason)

        def cancel(db: Connection) -> StoredJob | None:
            rows = db.rows(_THIS, (job_id,))
            if had_by is not None and rows:
                # Locked: whoever takes it now sees this done, or this sees that it was taken.
                of = ConversationId(rows[0][1])
                home = db.rows(_HOME + self._driver.for_update, (HOME, of, HOME))
                if home and home[0][0] not in had_by:
                    raise ConversationTakenError(of)
            return self._changed(db, job_id, lambda job: jobs.cancelled(job, why, self._now()))[1]

        return await self._line.ask(None, cancel)

    async def park(self, job_id: str, owner: str, error: str) -> bool:
        why = plain(error)
        done, _ = await self._change(job_id, lambda job: jobs.parked(job, owner, why, self._now()))
        return done

    async def retry(self, job_id: str) -> StoredJob | None:
        _, stands = await self._change(job_id, jobs.retried)
        return stands

    async def get(self, job_id: str) -> StoredJob | None:
        found = await self._line.read(lambda db: db.rows(_THIS, (job_id,)))
        return _job(found[0]) if found else None

    async def find(
        self,
        *,
        conversation_id: ConversationId | None = None,
        task_id: TaskId | None = None,
        statuses: Collection[JobStatus] = (),
        owner: str | None = None,
        keys: Collection[str] = (),
        limit: int = PAGE,
    ) -> Sequence[StoredJob]:
        where, values = " WHERE 1 = 1", list[object]()
        for column, wanted in (
            ("conversation_id", conversation_id),
            ("task_id", task_id),
            ("owner", owner),
        ):
            if wanted is not None:
                where += f" AND {column} = ?"
                values.append(wanted)
        for column, some in (("status", statuses), ("key", keys)):
            if some:
                where += f" AND {column} IN ({_places(some)})"
                values += some
        sql = f"{_SELECT}{where} ORDER BY place LIMIT ?"
        return await self._line.read(
            lambda db: [_job(row) for row in db.rows(sql, [*values, limit])]
        )

    async def place_of(self, job_id: str) -> int | None:
        def count(db: Connection) -> int | None:
            found = db.rows(_PLACE, (job_id,))
            return db.rows(_BEFORE, found[0])[0][0] if found else None

        return await self._line.read(count)

    async def reap(self, owner: str, *, max_claims: int = MAX_CLAIMS) -> Sequence[StoredJob]:
        return await self._line.ask(None, lambda db: self.reaped(db, owner, max_claims))

    def listen(self, heard: Callable[[str | None], None]) -> Callable[[], None]:
        return self._bus.of_jobs(heard)

    # -- within a transaction ------------------------------------------------------------------

    def reaped(self, db: Connection, owner: str, max_claims: int) -> list[StoredJob]:
        """Reap within a transaction of somebody else's."""
        return self._owned(db, owner, lambda job: jobs.reaped(job, owner, max_claims, self._now()))

    def _owned(self, db: Connection, owner: str, decide: Decide) -> list[StoredJob]:
        rows = db.rows(_SELECT + _OWNED + self._driver.for_update, (owner,))
        return _all(db, [_job(row) for row in rows], decide)

    async def _change(self, job_id: str, decide: Decide) -> tuple[bool, StoredJob | None]:
        """Whether a job has changed, and what stands now."""
        return await self._line.ask(None, lambda db: self._changed(db, job_id, decide))

    def _changed(
        self, db: Connection, job_id: str, decide: Decide
    ) -> tuple[bool, StoredJob | None]:
        rows = db.rows(_THIS + self._driver.for_update, (job_id,))
        if not rows:
            return False, None
        job = _job(rows[0])
        changed = _all(db, [job], decide)
        return bool(changed), changed[0] if changed else job


def _enqueue(db: Connection, rows: Sequence[Row]) -> None:
    db.run_each(_ENQUEUE, rows)
    db.tell({JOBS + row[0] for row in rows})


def _note(db: Connection, rows: Sequence[Row]) -> None:
    last = {row[1:]: row for row in rows}
    db.run_each(_NOTE, [last[key] for key in sorted(last)])


def _all(db: Connection, found: Sequence[StoredJob], decide: Decide) -> list[StoredJob]:
    """Write what becomes of jobs, and let others know."""
    changed = [job for job in map(decide, found) if job is not None]
    db.run_each(_CHANGE, [_changes(job) for job in changed])
    if changed:
        db.tell({JOBS + job.id for job in changed})
    return changed


def _readable(db: Connection, row: Row) -> StoredJob | None:
    """A job, unless what is to be done is damaged: nobody could carry it out, so it is parked."""
    try:
        read(f"job {row[0]} of {row[1]}", row[7], jobs.object_of)
    except StoreCorruptError as error:
        db.run(_PARK, (plain(str(error)), row[0]))
        db.tell([JOBS + row[0]])
        return None
    return _job(row)


def _changes(job: StoredJob) -> Row:
    progress, result = (
        None if said is None else _text(said) for said in (job.progress, job.result)
    )
    times = (job.claimed_at, job.ended_at)
    return (job.status, job.owner, job.claims, *times, progress, result, job.error, job.id)


def _job(row: Row) -> StoredJob:
    id, conversation_id, task_id, key, fingerprint, on_crash, at, data, status = row[:9]
    owner, claims, claimed_at, ended_at, progress, result, error = row[9:]
    return StoredJob(
        id=id,
        conversation_id=ConversationId(conversation_id),
        task_id=TaskId(task_id),
        key=key,
        fingerprint=fingerprint,
        on_crash=on_crash,
        at=at,
        data=_said(data),
        status=status,
        owner=owner,
        claims=claims,
        claimed_at=claimed_at,
        ended_at=ended_at,
        progress=None if progress is None else _said(progress),
        result=None if result is None else _said(result),
        error=error,
    )


def _text(data: JsonObject) -> str:
    return written(jobs.json_of(data))


def _said(text: str) -> JsonObject:
    try:
        return read("a job", text, jobs.object_of)
    except StoreCorruptError:
        return {}


def _places(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))
