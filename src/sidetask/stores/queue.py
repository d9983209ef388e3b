"""The seam of the queue: jobs that one process hands over, and another one carries out.

A job is one attempt of a task: a registered name and JSON arguments. Who enqueued it reads what
becomes of it; who claims it owns it until it is over, or until its owner is known to be dead.

| status     | claim   | finish | hand_back | cancel     | park      | retry  | reap               |
|------------|---------|--------|-----------|------------|-----------|--------|--------------------|
| queued     | running |        |           | cancelled  |           |        |                    |
| running    |         | ended  | queued    | cancelling | parked    |        | queued/ended/parked|
| cancelling |         | ended  | cancelled |            | cancelled |        | cancelled          |
| parked     |         |        |           | cancelled  |           | queued |                    |

`ended` and `cancelled` are over: nothing changes them. An empty place changes nothing either, and
the caller is told so. What every queue promises, tested by `tests/stores/test_queue.py`:

* Of any number of claimers in any number of processes one gets a job, and only one that named its
  key; the one that was enqueued first comes first, also when it was given back in between.
* `finish`, `hand_back`, `note` and `park` are its owner's alone, as long as it is the owner's.
* A job whose work was cut off by a cancel ends like any other, with what its owner says of it; it
  is `cancelled` where nobody is left to say anything.
* `reap` does with a dead owner's jobs what their `on_crash` says: `retry` queues it again, until
  it was claimed `max_claims` times, then it is parked; `fail` and `ask` end it with `LOST`.
* `enqueue` and `note` are handed over, as everything that never waits is: see `stores.base`.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Literal, Protocol, TypeAlias

from sidetask.core.ids import ConversationId, TaskId, value
from sidetask.core.jsons import JsonObject

JobStatus: TypeAlias = Literal["queued", "running", "cancelling", "ended", "cancelled", "parked"]

OVER: frozenset[JobStatus] = frozenset({"ended", "cancelled"})
"""Nothing changes such a job any more. A parked one waits for a person."""
OWNED: frozenset[JobStatus] = frozenset({"running", "cancelling"})
"""Such a job has an owner that works on it."""
LOST: JsonObject = {"lost": True}
"""The result of a job whose owner died: nobody knows what it has done."""
MAX_CLAIMS = 3
"""How often a job is claimed by owners that die, until it is parked."""
JOBS = 100
"""How many jobs one question gives at most, unless it asks for more."""


@value(kw_only=True)
class NewJob:
    """What is to be done."""

    id: str
    """Unique in the store, for ever: enqueued twice, it is done once."""
    conversation_id: ConversationId
    task_id: TaskId
    key: str
    """What must be known to do it: `"{agent}/{tool}"`."""
    fingerprint: str
    """Of the tool, as who enqueued it has it."""
    on_crash: str
    """`retry`, `fail` or `ask`: what becomes of it when its owner dies."""
    at: float
    """When it was enqueued, in seconds since the epoch."""
    data: JsonObject


@value(kw_only=True)
class StoredJob(NewJob):
    """A job as it stands. Times are seconds since the epoch."""

    status: JobStatus = "queued"
    owner: str | None = None
    """Who works on it; of one that is no longer worked on, who did last. None while queued."""
    claims: int = 0
    """How often it was claimed, without those that were given back."""
    claimed_at: float | None = None
    ended_at: float | None = None
    progress: JsonObject | None = None
    """What its owner noted last."""
    result: JsonObject | None = None
    """What its owner said of its end; `LOST`: it died, and it must not be done again."""
    error: str | None = None
    """Why it is parked, or cancelled."""


class Queue(Protocol):
    """Jobs, of all conversations."""

    def enqueue(self, job: NewJob) -> None:
        """Take a job, in one transaction with what is handed over beside it. One whose id is
        there already, over or not, changes nothing."""
        ...

    async def claim(
        self, owner: str, keys: Collection[str], *, limit: int, job_id: str | None = None
    ) -> Sequence[StoredJob]:
        """Make the first `limit` queued jobs of these keys the owner's. `job_id`: only this one,
        if it is queued and of one of the keys."""
        ...

    async def finish(self, job_id: str, owner: str, result: JsonObject) -> bool:
        """End a job. False: it is not this owner's any more, and nothing has changed."""
        ...

    async def hand_back(self, owner: str, job_ids: Collection[str] | None = None) -> int:
        """Let go of jobs that the owner does not work on any more, or of all that it has: they are
        queued as if they had not been claimed; what was to be cancelled is. Returns how many."""
        ...

    def note(self, job_id: str, owner: str, progress: JsonObject) -> None:
        """Keep how far a job is, if it is the owner's."""
        ...

    async def cancel(
        self, job_id: str, reason: str = "", *, had_by: Collection[str] | None = None
    ) -> StoredJob | None:
        """Cancel a job, or ask its owner to. Returns what stands now; None: there is none.
        `had_by`: as one with the look whether its conversation is some other member's by now.

        Raises:
            ConversationTakenError: It is; nothing was changed.
        """
        ...

    async def park(self, job_id: str, owner: str, error: str) -> bool:
        """Put a job aside until somebody says `retry`. False: it is not this owner's any more."""
        ...

    async def retry(self, job_id: str) -> StoredJob | None:
        """Queue a parked job again, as if nobody had claimed it. Returns what stands now."""
        ...

    async def get(self, job_id: str) -> StoredJob | None:
        """The job of this id."""
        ...

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
        """Jobs in the order in which they were enqueued; `statuses`, `keys`: with one of them, if
        there are any."""
        ...

    async def place_of(self, job_id: str) -> int | None:
        """How many queued jobs, of any key, stand before it; None: it is not queued."""
        ...

    async def reap(self, owner: str, *, max_claims: int = MAX_CLAIMS) -> Sequence[StoredJob]:
        """Do with all jobs of an owner that is dead what is to be done, and return them as they
        stand now. Whoever calls it knows that it is dead: see `Membership.reap`."""
        ...

    def listen(self, heard: Callable[[str | None], None]) -> Callable[[], None]:
        """Call `heard` in the loop with the id of a job that another process has changed; None:
        perhaps any, or who lives. A hint, never the news itself. Returns what ends it."""
        ...
