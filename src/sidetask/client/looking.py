"""Finds out what tasks wait for, as the table of `client.why` says."""

from collections.abc import Mapping, Sequence
from time import time
from typing import Any

from sidetask.agents.quota.notes import GATES, ID, OF, GateNote
from sidetask.client.why import (
    Asking,
    AtHome,
    ClosedGate,
    Ended,
    Held,
    Home,
    Parked,
    Queued,
    Running,
    Standing,
    Stopping,
    Untold,
    Why,
    Worker,
)
from sidetask.core.errors import TaskNotFoundError
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.lifecycle import TERMINAL, TaskStatus
from sidetask.stores.base import PAGE, Record, Store
from sidetask.stores.members import BELOW, HOME, STUCK, Member, Members
from sidetask.stores.queue import OWNED, Queue, StoredJob
from sidetask.tasks.remote.values import ASKS
from sidetask.tasks.stored import APPROVALS, HOMES, ORDERS, RESULTS, TASKS, Order
from sidetask.tasks.values import TaskSnapshot

_MANY = 1_000
"""Of what is counted, or looked through."""


class Looking:
    """What is asked of a store about work that is going on."""

    _store: Store

    async def task(self, task_id: str) -> TaskSnapshot:
        """One task.

        Raises:
            TaskNotFoundError: The store has none of this id.
        """
        found = await self._store.find(TASKS, id=task_id, limit=1)
        if not found:
            raise TaskNotFoundError(task_id)
        return found[0].value

    async def why(self, task_id: str) -> Why:
        """What a task waits for; each answer is a class of its own.

        Raises:
            TaskNotFoundError: The store has none of this id. A call that its turn waits for is
                in the store only while it waits for a person.
        """
        task = await self.task(task_id)
        if task.status in TERMINAL:
            waiting = await self._store.get(RESULTS, task.conversation_id, task.id)
            is_taken = waiting is None or not waiting.open
            return Ended(**await self._told(task), is_taken=is_taken)
        told = await self._told(task)
        told["ordered"] = await self._ordered(task)
        if task.status is TaskStatus.AWAITING_APPROVAL:
            found = await self._store.find(
                APPROVALS, conversation_id=task.conversation_id, open=True, limit=_MANY
            )
            asked = [each.value for each in found if each.value.task_id == task.id]
            return Asking(**told, approvals=tuple(asked))
        job = await self._job(task)
        if job is None:
            return await self._at_home(task, told)
        return await self._out(told, job)

    async def jobs(self, tasks: Sequence[TaskSnapshot]) -> Mapping[TaskId, StoredJob]:
        """The jobs of those of these tasks that other processes carry out."""
        found = [await self._job(task) for task in tasks]
        return {job.task_id: job for job in found if job is not None}

    async def workers(self) -> Sequence[Worker]:
        """The workers that live, in the order in which they came; none, where the store cannot
        tell."""
        living = [each for each in await self._living() if each.role == "worker"]
        return [await self._worker(each) for each in living]

    async def parked(
        self, *, conversation_id: str | None = None, user: str | None = None, limit: int = PAGE
    ) -> Sequence[Parked]:
        """Tasks whose job is parked: workers have died of it, and nobody touches it until
        `retry`, or `cancel`. The oldest job first."""
        queue = self._queue
        if queue is None:
            return []
        jobs = await queue.find(
            conversation_id=id_of(conversation_id),
            statuses=["parked"],
            limit=limit,
        )
        found: list[Parked] = []
        for job in jobs:
            rows = await self._store.find(
                TASKS, conversation_id=job.conversation_id, user=user, id=job.task_id, limit=1
            )
            tasks = [row.value for row in rows if row.open and row.value.job == job.id]
            found += [_parked(await self._told(task), job) for task in tasks]
        return found

    # -- what the store tells ----------------------------------------------------------------------

    @property
    def _queue(self) -> Queue | None:
        """An application's own store may have none."""
        return getattr(self._store, "queue", None)

    async def _living(self) -> Sequence[Member]:
        members: Members | None = getattr(self._store, "members", None)
        return () if members is None else await members.living()

    async def _job(self, task: TaskSnapshot) -> StoredJob | None:
        if task.job is None or self._queue is None:
            return None
        return await self._queue.get(task.job)

    async def _worker(self, member: Member) -> Worker:
        queue = self._queue
        has = (
            () if queue is None else await queue.find(owner=member.id, statuses=OWNED, limit=_MANY)
        )
        return Worker(member=member, running=len(has))

    async def _ordered(self, task: TaskSnapshot) -> Order | None:
        found = await self._store.find(
            ORDERS, conversation_id=task.conversation_id, open=True, limit=_MANY
        )
        ends = [each.value for each in found if each.value.kind == "cancel"]
        return next((each for each in ends if each.task_id == task.id), None)

    async def _gates(self) -> tuple[ClosedGate, ...]:
        now = time()
        found: list[ClosedGate] = []
        after: Record[GateNote] | None = None
        while True:
            page = await self._store.find(GATES, id=ID, after=after, limit=_MANY)
            found += [
                ClosedGate(key=each.conversation_id.removeprefix(OF), opens_at=each.value.opens_at)
                for each in page
                if each.value.opens_at > now
            ]
            if len(page) < _MANY:
                return tuple(found)
            after = page[-1]

    # -- each answer -------------------------------------------------------------------------------

    async def _told(self, task: TaskSnapshot) -> dict[str, Any]:
        """What all answers have."""
        return {"task": task, "home": await self._home(task.conversation_id)}

    async def _home(self, conversation_id: ConversationId) -> Home:
        found = await self._store.get(HOMES, conversation_id, HOME)
        if found is None:
            return Home()
        if found.status == STUCK:
            return Home(standing=Standing.STUCK)
        if found.status == BELOW:
            return Home(standing=Standing.BELOW)
        member = next((each for each in await self._living() if each.id == found.status), None)
        standing = Standing.NOWHERE if member is None else Standing.OPEN
        return Home(member=member, standing=standing)

    async def _at_home(self, task: TaskSnapshot, told: dict[str, Any]) -> Held | AtHome:
        gates = await self._gates()
        if task.status is TaskStatus.RUNNING:
            return AtHome(**told, gates=gates)
        found = await self._store.find(TASKS, open=True, limit=_MANY)
        running = sum(
            each.value.name == task.name and each.value.status is TaskStatus.RUNNING
            for each in found
        )
        return Held(**told, running=running, gates=gates)

    async def _out(self, told: dict[str, Any], job: StoredJob) -> Why:
        match job.status:
            case "queued":
                return await self._queued(told, job)
            case "running" | "cancelling":
                return await self._running(told, job)
            case "parked":
                return _parked(told, job)
            case "ended" | "cancelled":
                return Untold(**told, since=job.ended_at or job.at)

    async def _queued(self, told: dict[str, Any], job: StoredJob) -> Queued:
        assert self._queue is not None
        knowing = [each for each in await self.workers() if job.key in each.member.tools]
        others = [
            each.member.id for each in knowing if each.member.tools[job.key] != job.fingerprint
        ]
        return Queued(
            **told,
            key=job.key,
            since=job.at,
            claims=job.claims,
            place=await self._queue.place_of(job.id) or 0,
            workers=tuple(knowing),
            others=tuple(others),
        )

    async def _running(self, told: dict[str, Any], job: StoredJob) -> Running:
        living = {each.id: each for each in await self._living()}
        asked = await self._store.find(
            ASKS, conversation_id=job.conversation_id, open=True, limit=_MANY
        )
        note = (job.progress or {}).get("note")
        questions = [each.value.reason for each in asked if each.value.job_id == job.id]
        known: dict[str, Any] = {
            **told,
            "since": job.claimed_at or job.at,
            "claims": job.claims,
            "owner": job.owner or "",
            "member": living.get(job.owner or ""),
            "note": note if isinstance(note, str) else "",
            "questions": tuple(questions),
        }
        if job.status == "running":
            return Running(**known)
        return Stopping(**known, reason=job.error or "")


def id_of(conversation_id: str | None) -> ConversationId | None:
    """The id of a conversation, if one is asked for."""
    return None if conversation_id is None else ConversationId(conversation_id)


def _parked(told: dict[str, Any], job: StoredJob) -> Parked:
    return Parked(**told, error=job.error or "", claims=job.claims)
