"""Who else shares the store: which jobs to leave to them, and what they leave when they die."""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence

from sidetask.stores.members import Member, Members, Membership
from sidetask.stores.queue import Queue, StoredJob
from sidetask.worker.counters import Counters

LOOK = 1.0
"""Seconds between two looks at who lives, if nothing hints at a change."""
REAP = 0.3
"""Seconds between two looks at who died, while there are others. Nothing tells of a death."""
LOOKED_THROUGH = 1_000
"""Queued jobs that are looked through, while two releases share a key."""
_log = logging.getLogger(__name__)


class Peers:
    """The other members, as they were lately seen."""

    def __init__(
        self, members: Members, membership: Membership, counters: Counters, *, retries: int
    ) -> None:
        self._members = members
        self._membership = membership
        self._counters = counters
        self._retries = retries
        self._others: Sequence[Member] | None = None
        """None: nobody has looked yet."""
        self._look_due = self._reap_due = 0.0

    @property
    def me(self) -> str:
        """The name by which this worker owns jobs."""
        return self._membership.member.id

    @property
    def pause(self) -> float:
        """Seconds until it is time to look again."""
        return REAP if self._others else LOOK

    def hurry(self) -> None:
        """Something may have changed."""
        self._look_due = 0.0

    async def look(self) -> bool:
        """See who lives and who does no more, if it is time to. True: jobs were taken from the
        dead.

        Raises:
            StoreError: It cannot be seen now.
        """
        now = asyncio.get_running_loop().time()
        if now >= self._look_due:
            self._look_due = now + LOOK
            self._others = await self._see()
        if now < self._reap_due:
            return False
        # Alone, too: who died before this one came has left its jobs.
        self._reap_due = now + self.pause
        return await self.reap()

    async def _see(self) -> Sequence[Member]:
        return [each for each in await self._members.living() if each.id != self.me]

    async def reap(self) -> bool:
        """Take from the dead what they had; True: there was something.

        Raises:
            StoreError: It cannot be done now.
        """
        found = await self._membership.reap(max_claims=self._retries)
        for job in found:
            self._counters.reaped += 1
            self._counters.parked += job.status == "parked"
            _log.warning("%s is %s: the worker that had it died", job.id, job.status)
        return bool(found)

    def shared_keys(self, known: Mapping[str, str]) -> frozenset[str]:
        """The keys that another worker has in another release."""
        return frozenset(
            [
                key
                for each in self._workers()
                for key, fingerprint in each.tools.items()
                if known.get(key, fingerprint) != fingerprint
            ]
        )

    async def claim(
        self, queue: Queue, known: Mapping[str, str], limit: int, *, carefully: bool
    ) -> Sequence[StoredJob]:
        """Get jobs that are to be carried out here. One that was made for another release of its
        tool is left to who has that, as long as somebody has.

        One that workers have died of may be the reason, and takes those beside it along. So of
        those on their last try one at a time is at work in a worker; `carefully`: one is.

        Raises:
            StoreError: There is no knowing what was claimed: what was, is found when it is over.
        """
        if self._others is None:  # it has just come: what may another one have?
            self._others = await self._see()
        shared = self.shared_keys(known)
        plain: Collection[str] = () if carefully else known.keys() - shared
        found = list(await queue.claim(self.me, plain, limit=limit)) if plain else []
        if (shared or carefully) and len(found) < limit:
            rest = known.keys() - plain
            for job in await queue.find(statuses=["queued"], keys=rest, limit=LOOKED_THROUGH):
                if not self._is_for_me(job, known):
                    continue
                if not (carefully and self.is_last_try(job, claims=1)):
                    found += await queue.claim(self.me, [job.key], limit=1, job_id=job.id)
                if len(found) == limit:
                    break
        risky = [job.id for job in found if self.is_last_try(job)]
        spare = risky if carefully else risky[1:]
        if spare:
            await queue.hand_back(self.me, spare)
        return [job for job in found if job.id not in spare]

    def is_last_try(self, job: StoredJob, *, claims: int = 0) -> bool:
        """If the worker that has it dies as others have, it is parked; `claims`: when it has been
        claimed so many times more."""
        return job.claims + claims >= max(self._retries, 2)

    def _is_for_me(self, job: StoredJob, known: Mapping[str, str]) -> bool:
        return known[job.key] == job.fingerprint or all(
            each.tools.get(job.key) != job.fingerprint for each in self._workers()
        )

    def _workers(self) -> Sequence[Member]:
        return [each for each in self._others or () if each.role == "worker" and not each.draining]
