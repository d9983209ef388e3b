"""A queue that forgets at exit.

One process has it, so whoever listens is told of every change: it stands in for both sides.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice

from sidetask.core.errors import ConversationTakenError
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.jsons import JsonObject
from sidetask.stores import jobs
from sidetask.stores.queue import JOBS, MAX_CLAIMS, OVER, JobStatus, NewJob, Queue, StoredJob

KEPT = 1_000
"""How many jobs are kept that are over."""


class _Jobs:
    """The jobs in the order in which they came, and who listens to them."""

    def __init__(self, kept: int) -> None:
        self.of: dict[str, StoredJob] = {}
        self._kept = kept
        self._over: dict[str, None] = {}
        """Ids of those that are over, in the order in which they were."""
        self.ears: dict[object, Callable[[str | None], None]] = {}

    def change(self, job_id: str, change: Callable[[StoredJob], StoredJob | None]) -> bool:
        job = self.of.get(job_id)
        return bool(self.stand([None if job is None else change(job)]))

    def stand(self, changed: Iterable[StoredJob | None]) -> list[StoredJob]:
        """Keep jobs as they are now. One too many that is over makes the first go."""
        done = [job for job in changed if job is not None]
        for job in done:
            self.of[job.id] = job
            self._tell(job.id)
            if job.status in OVER:
                self._over[job.id] = None
        self.forget(
            [self.of[id] for id in islice(self._over, max(0, len(self._over) - self._kept))]
        )
        return done

    def forget(self, gone: Iterable[StoredJob]) -> None:
        for job in list(gone):
            del self.of[job.id]
            self._over.pop(job.id, None)
            self._tell(job.id)

    def _tell(self, job_id: str) -> None:
        if self.ears:
            asyncio.get_running_loop().call_soon(self._hear, job_id)

    def _hear(self, job_id: str) -> None:
        for heard in tuple(self.ears.values()):
            heard(job_id)


class MemoryQueue(Queue):
    """Keeps all jobs that are not over, and the last that are."""

    def __init__(self, *, now: Callable[[], float] = time.time, kept: int = KEPT) -> None:
        self._now = now
        self._jobs = _Jobs(kept)
        self.home_of: Callable[[ConversationId], str | None] = lambda _: None
        """What the record of its store says of who has a conversation open."""

    def enqueue(self, job: NewJob) -> None:
        stored = jobs.stored_job(job)
        if stored.id not in self._jobs.of:
            self._jobs.stand([stored])

    async def claim(
        self, owner: str, keys: Collection[str], *, limit: int, job_id: str | None = None
    ) -> Sequence[StoredJob]:
        waiting = (
            job
            for job in self._jobs.of.values()
            if job.status == "queued" and job.key in keys and job_id in (None, job.id)
        )
        found = list(islice(waiting, limit))
        return self._jobs.stand(jobs.claimed(job, owner, self._now()) for job in found)

    async def finish(self, job_id: str, owner: str, result: JsonObject) -> bool:
        kept = jobs.object_of(jobs.json_of(result))
        return self._jobs.change(job_id, lambda job: jobs.finished(job, owner, kept, self._now()))

    async def hand_back(self, owner: str, job_ids: Collection[str] | None = None) -> int:
        theirs = await self.find(owner=owner, limit=len(self._jobs.of))
        some = [job for job in theirs if job_ids is None or job.id in job_ids]
        return len(self._jobs.stand(jobs.handed_back(job, owner, self._now()) for job in some))

    def note(self, job_id: str, owner: str, progress: JsonObject) -> None:
        kept = jobs.object_of(jobs.json_of(progress))
        self._jobs.change(job_id, lambda job: jobs.noted(job, owner, kept))

    async def cancel(
        self, job_id: str, reason: str = "", *, had_by: Collection[str] | None = None
    ) -> StoredJob | None:
        job = self._jobs.of.get(job_id)
        if job is not None and had_by is not None:
            home = self.home_of(job.conversation_id)
            if home is not None and home not in had_by:
                raise ConversationTakenError(job.conversation_id)
        self._jobs.change(job_id, lambda job: jobs.cancelled(job, reason, self._now()))
        return self._jobs.of.get(job_id)

    async def park(self, job_id: str, owner: str, error: str) -> bool:
        return self._jobs.change(job_id, lambda job: jobs.parked(job, owner, error, self._now()))

    async def retry(self, job_id: str) -> StoredJob | None:
        self._jobs.change(job_id, jobs.retried)
        return self._jobs.of.get(job_id)

    async def get(self, job_id: str) -> StoredJob | None:
        return self._jobs.of.get(job_id)

    async def find(
        self,
        *,
        conversation_id: ConversationId | None = None,
        task_id: TaskId | None = None,
        statuses: Collection[JobStatus] = (),
        owner: str | None = None,
        keys: Collection[str] = (),
        limit: int = JOBS,
    ) -> Sequence[StoredJob]:
        wanted = (
            job
            for job in self._jobs.of.values()
            if conversation_id in (None, job.conversation_id)
            and task_id in (None, job.task_id)
            and (not statuses or job.status in statuses)
            and owner in (None, job.owner)
            and (not keys or job.key in keys)
        )
        return list(islice(wanted, limit))

    async def place_of(self, job_id: str) -> int | None:
        waiting = [job.id for job in self._jobs.of.values() if job.status == "queued"]
        return waiting.index(job_id) if job_id in waiting else None

    async def reap(self, owner: str, *, max_claims: int = MAX_CLAIMS) -> Sequence[StoredJob]:
        theirs = await self.find(owner=owner, limit=len(self._jobs.of))
        return self._jobs.stand(jobs.reaped(job, owner, max_claims, self._now()) for job in theirs)

    def listen(self, heard: Callable[[str | None], None]) -> Callable[[], None]:
        ear = object()
        self._jobs.ears[ear] = heard

        def end() -> None:
            self._jobs.ears.pop(ear, None)

        return end

    # -- for the store -------------------------------------------------------------------------

    def has_open(self, conversation_id: ConversationId) -> bool:
        """Whether a job of a conversation is not over."""
        return any(
            job.conversation_id == conversation_id and job.status not in OVER
            for job in self._jobs.of.values()
        )

    def drop(self, conversation_id: ConversationId) -> None:
        """Forget the jobs of a conversation."""
        self._jobs.forget(
            job for job in self._jobs.of.values() if job.conversation_id == conversation_id
        )

    def drop_over(self, older_than: float, waits: Callable[[StoredJob], bool]) -> None:
        """Forget what is over since then, and nobody waits for."""
        self._jobs.forget(
            job
            for job in self._jobs.of.values()
            if job.status in OVER and (job.ended_at or 0) < older_than and not waits(job)
        )
