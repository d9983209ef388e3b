"""What is heard of jobs that are out, of their questions, and of who lives.

Everything is read from the store. That something has changed is hinted at, and a hint may be lost:
while anything is out, who lives is looked at once a second, and all jobs every five. One asyncio
task looks, one thing after the other, so that what is read later is never overtaken by what was
read before.

While nothing is out, nothing is looked at but who lives, and that when the queue hints at it.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from sidetask.core.errors import StoreError
from sidetask.core.ids import ConversationId
from sidetask.stores.base import Record, Store
from sidetask.stores.queue import JobStatus, Queue, StoredJob
from sidetask.tasks.aio.spawn import spawn, wait_done
from sidetask.tasks.remote.values import ASKS, Ask

EVERY = 1.0
"""Seconds between two looks at who lives: at least, and at most while anything is out."""
RELOOK = 5
"""So many of them between two looks at all jobs that are out."""
LIVING: tuple[JobStatus, ...] = ("queued", "running", "cancelling", "parked")
ALL = 100_000

_log = logging.getLogger(__name__)


class Watched(Protocol):
    """Who waits for a job."""

    job_id: str

    @property
    def conversation_id(self) -> ConversationId: ...
    def seen(self, job: StoredJob | None) -> None:
        """Its job stands like this now; None: it is gone."""
        ...

    def asks(self, asked: Mapping[str, Record[Ask]]) -> None:
        """These questions of it are open."""
        ...

    def look_again(self) -> None:
        """Who lives has changed, or time has passed."""
        ...


class Lookout:
    """Looks for all that are out."""

    def __init__(
        self,
        queue: Queue,
        store: Store,
        look_who_lives: Callable[[], Coroutine[Any, Any, Sequence[StoredJob]]],
    ) -> None:
        """`look_who_lives` returns what has become of the jobs of those that died."""
        self._queue = queue
        self._store = store
        self._look_who_lives = look_who_lives
        self._calls: dict[str, Watched] = {}
        self._unlisten: list[Callable[[], None]] = []
        self._members = False
        """To be looked at; as the next three."""
        self._all_jobs = False
        self._jobs: dict[str, None] = {}
        self._questions: dict[ConversationId, None] = {}
        self._looking: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ticks = 0
        self._looked_at = float("-inf")

    def open(self) -> None:
        """Hear from now on. Twice is fine."""
        if not self._unlisten:
            self._unlisten.append(self._queue.listen(self._hint))
            self._unlisten.append(self._store.listen(self._hint_of))

    async def close(self) -> None:
        """Hear nothing more. Twice is fine."""
        for end in self._unlisten:
            end()
        self._unlisten.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._looking is not None:
            self._looking.cancel()
            await wait_done(self._looking)

    def watch(self, call: Watched, *, is_new: bool) -> None:
        """Tell it whatever becomes of its job; how that stands already, unless it is new."""
        self._calls[call.job_id] = call
        if not is_new:
            self._jobs[call.job_id] = None
            self._questions[call.conversation_id] = None
            self._look_soon()
        self._tick_later()

    def unwatch(self, call: Watched) -> None:
        self._calls.pop(call.job_id, None)

    def seen(self, job_id: str, job: StoredJob | None) -> None:
        """This is how a job stands; None: it is gone."""
        if (call := self._calls.get(job_id)) is not None:
            call.seen(job)

    def wake(self, job_id: str) -> None:
        """Something else has changed that who waits for this job has to know."""
        if (call := self._calls.get(job_id)) is not None:
            call.look_again()

    def look_at_members(self) -> None:
        """Now, or as soon as the last look is old enough."""
        if asyncio.get_running_loop().time() - self._looked_at >= EVERY:
            self._members = True
            self._look_soon()
        else:
            self._tick_later()

    # -- hints -----------------------------------------------------------------------------------

    def _hint(self, job_id: str | None) -> None:
        """A job has been changed by another process; None: perhaps any, or who lives."""
        if job_id is None:
            self._all_jobs = bool(self._calls)
            self.look_at_members()
        elif job_id in self._calls:
            self._jobs[job_id] = None
        else:
            return
        self._look_soon()

    def _hint_of(self, conversation_id: ConversationId | None) -> None:
        """Another process has written to a conversation."""
        for each in {call.conversation_id for call in self._calls.values()}:
            if conversation_id is None or each == conversation_id:
                self._questions[each] = None
                self._look_soon()

    def _tick_later(self) -> None:
        if self._timer is None and self._unlisten:
            self._timer = asyncio.get_running_loop().call_later(EVERY, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._members = True
        self._look_soon()
        if not self._calls:
            self._ticks = 0
            return
        self._ticks += 1
        if self._ticks % RELOOK == 0:
            self._all_jobs = True
            self._questions.update({call.conversation_id: None for call in self._calls.values()})
        self._tick_later()

    # -- looking ---------------------------------------------------------------------------------

    def _look_soon(self) -> None:
        if self._looking is None and self._unlisten:
            self._looking = spawn(self._look(), name="what others did", done=self._looked)

    def _looked(self, _: "asyncio.Task[None]") -> None:
        self._looking = None
        if self._is_due:  # since the last look had ended
            self._look_soon()

    @property
    def _is_due(self) -> bool:
        return bool(self._members or self._all_jobs or self._jobs or self._questions)

    async def _look(self) -> None:
        while self._is_due:
            try:
                await self._see_next()
            except StoreError:  # a later look finds it
                _log.debug("what others did is not known yet", exc_info=True)

    async def _see_next(self) -> None:
        if self._members:
            self._members = False
            await self._see_members()
        elif self._all_jobs:
            self._all_jobs = False
            await self._see_all_jobs()
        elif self._jobs:
            job_id = next(iter(self._jobs))
            del self._jobs[job_id]
            if job_id in self._calls:
                self.seen(job_id, await self._queue.get(job_id))
        else:
            conversation_id = next(iter(self._questions))
            del self._questions[conversation_id]
            await self._see_questions(conversation_id)

    async def _see_members(self) -> None:
        self._looked_at = asyncio.get_running_loop().time()
        for job in await self._look_who_lives():
            self.seen(job.id, job)
        for call in self._calls.values():
            call.look_again()

    async def _see_all_jobs(self) -> None:
        out: set[str] = set()
        for conversation_id in {call.conversation_id for call in self._calls.values()}:
            found = await self._queue.find(
                conversation_id=conversation_id, statuses=LIVING, limit=ALL
            )
            out.update(job.id for job in found)
            for job in found:
                self.seen(job.id, job)
        self._jobs.update(dict.fromkeys(self._calls.keys() - out))

    async def _see_questions(self, conversation_id: ConversationId) -> None:
        found = await self._store.find(ASKS, conversation_id=conversation_id, open=True, limit=ALL)
        for call in list(self._calls.values()):
            if call.conversation_id == conversation_id:
                prefix = f"{call.job_id}:"
                call.asks({each.id: each for each in found if each.id.startswith(prefix)})
