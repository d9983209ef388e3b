"""What the queue gives a worker, and what it takes from it again.

* It claims while there is room: when the queue hints at a job, when a job of its own has ended or
  waits for a person, and once a second anyway.
* A hint may be lost, and so may the answer to a claim, which was carried out all the same. So all
  that the worker owns is looked over now and then, and before the next claim after one that failed:
  what it owns and does not know is handed back.
* A job may be changed by others in the moment in which it is being claimed: what is heard of jobs
  that are unknown is kept as long as that takes.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress

from sidetask.core.errors import StoreError
from sidetask.stores.queue import OWNED, Queue
from sidetask.worker.asks import Asks
from sidetask.worker.crew import Crew
from sidetask.worker.peers import LOOK, LOOKED_THROUGH, Peers

RELOOK = 5.0
"""Seconds between two looks at all its jobs and what they ask, whatever is hinted at."""
_log = logging.getLogger(__name__)


class Intake:
    """Claims jobs for a crew, and stops those of it that are somebody else's now."""

    def __init__(
        self,
        queue: Queue,
        peers: Peers,
        crew: Crew,
        asks: Asks,
        *,
        tools: Mapping[str, str],
        concurrency: int,
    ) -> None:
        """`tools`: the fingerprint of each key that can be carried out."""
        self._queue = queue
        self._peers = peers
        self._crew = crew
        self._asks = asks
        self._tools = tools
        self.concurrency = concurrency
        """How many may be at work at once."""
        self._wake = asyncio.Event()
        """There may be something to claim."""
        self._news = asyncio.Event()
        """There may be something to stop, or somebody may have come or gone."""
        self._to_look_at: set[str] = set()
        self._heard_meanwhile: set[str] | None = None
        """Jobs that others have changed while some are being claimed: perhaps these."""
        self.is_unsure = False
        """A claim failed, and may have been carried out all the same."""

    def stir(self) -> None:
        """Look again: there may be room, or an end."""
        self._wake.set()
        self._news.set()

    def hear(self, job_id: str | None) -> None:
        """Another process has changed a job; None: perhaps any, or who lives."""
        if job_id is None:
            self._to_look_at.update(self._crew.jobs)
            self._peers.hurry()
            self.stir()
        elif job_id in self._crew.jobs:
            self._to_look_at.add(job_id)
            self._news.set()
        else:
            if self._heard_meanwhile is not None:
                self._heard_meanwhile.add(job_id)
            self._wake.set()

    # -- what it gives -----------------------------------------------------------------------------

    async def claim(self, ending: asyncio.Event) -> None:
        """Claim what there is room for, until the end."""
        while not ending.is_set():
            self._wake.clear()
            room = self.concurrency - self._crew.room_taken
            if room > 0:
                try:
                    await self._claim(room, ending)
                except StoreError as error:
                    self.is_unsure = True
                    _log.warning("nothing can be claimed: %s", error)
            await _set(self._wake, LOOK)

    async def _claim(self, room: int, ending: asyncio.Event) -> None:
        if self.is_unsure:
            await self.look_over()
            self.is_unsure = False
        carefully = any(
            self._peers.is_last_try(work.job) and not work.waits
            for work in self._crew.jobs.values()
        )
        self._heard_meanwhile = heard = set[str]()
        try:
            found = await self._peers.claim(self._queue, self._tools, room, carefully=carefully)
        finally:
            self._heard_meanwhile = None
        if ending.is_set() and found:
            await self._queue.hand_back(self._peers.me, [job.id for job in found])
            return
        for job in found:
            self._crew.take(job)
            if job.id in heard:
                self._to_look_at.add(job.id)
                self._news.set()

    # -- what it takes -----------------------------------------------------------------------------

    async def watch(self) -> None:
        """Hear of what is to be stopped here, and of who has died."""
        clock = asyncio.get_running_loop()
        looked_over = clock.time()
        while True:
            self._news.clear()
            try:
                if self._crew.jobs and clock.time() - looked_over >= RELOOK:
                    looked_over = clock.time()
                    self._asks.hear(None)
                    await self.look_over()
                await self._see_to_cancels()
                if await self._peers.look():
                    self._wake.set()
            except StoreError as error:
                _log.warning("the store cannot be read: %s", error)
            await _set(self._news, self._peers.pause)

    async def look_over(self) -> None:
        """See how all that it owns stands: a hint may have been lost, or the answer to a claim.

        Raises:
            StoreError: It cannot be seen now.
        """
        jobs = self._crew.jobs
        mine = await self._queue.find(owner=self._peers.me, statuses=[*OWNED], limit=LOOKED_THROUGH)
        if self._heard_meanwhile is None:  # else some of it is just being claimed
            unknown = [job.id for job in mine if job.id not in jobs]
            if unknown:
                await self._queue.hand_back(self._peers.me, unknown)
        goes_on = {job.id for job in mine if job.status == "running"}
        self._to_look_at.update(jobs.keys() - goes_on)

    async def _see_to_cancels(self) -> None:
        while self._to_look_at:
            job_id = self._to_look_at.pop()
            try:
                stands = await self._queue.get(job_id)
            except StoreError:
                self._to_look_at.add(job_id)
                raise
            work = self._crew.jobs.get(job_id)
            if work is None:
                continue
            if stands is None or stands.owner != self._peers.me or stands.status not in OWNED:
                work.leave("it is somebody else's now")
            elif stands.status == "cancelling":
                work.stop(stands.error or "cancelled")


async def _set(event: asyncio.Event, within: float) -> None:
    """Wait until it is set, or so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            await event.wait()
