"""What this process and those that carry its calls out say to each other.

What it says of jobs it says until the store has taken it. Where it dies before that, whoever takes
the conversation up again ends what is out for tasks that have ended.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from sidetask.core.errors import ConfigurationError, ConversationTakenError, StoreError
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.jsons import JsonObject
from sidetask.stores.base import Record, Store
from sidetask.stores.insisting import insist
from sidetask.stores.members import Members
from sidetask.stores.queue import LOST, Queue, StoredJob
from sidetask.tasks.aio.spawn import spawn, stop
from sidetask.tasks.durable.keeper import StoreKeeper
from sidetask.tasks.elsewhere import Outside, Placement
from sidetask.tasks.owning import Owning
from sidetask.tasks.parts.records import TaskRecord
from sidetask.tasks.remote.earlier import Earlier
from sidetask.tasks.remote.lookout import Lookout
from sidetask.tasks.remote.presence import Presence
from sidetask.tasks.remote.values import Ask
from sidetask.tasks.values import TaskSnapshot
from sidetask.tasks.wiring import Parts

_log = logging.getLogger(__name__)


class Post:
    """Knows who lives, hears of jobs, and says what is to become of them."""

    def __init__(
        self,
        parts: Parts,
        keeper: StoreKeeper,
        store: Store,
        queue: Queue,
        members: Members,
        placement: Placement = "auto",
    ) -> None:
        self.runner = parts.runner
        self.queue = queue
        self.placement: Placement = placement
        self.now = parts.outbox.now
        self.is_alone = False
        """The store cannot tell who lives: nothing is ever sent out."""
        self._keeper = keeper
        self._store = store
        self._presence = Presence(members, parts.outbox.now)
        self.lookout = Lookout(queue, store, self._presence.look)
        self.owning = Owning(
            store, members, me=lambda: self._presence.id, now=self.now, soon=self._write_soon
        )
        """Which conversations are open here."""
        again = partial(self._write_soon, self.owning.enter_again, "what is open here")
        self._presence.joined_again = again
        self._earlier = Earlier(store, queue, self.cancel_soon)
        self._away: set[ConversationId] = set()
        self._taken: set[ConversationId] = set()
        self._writing: set[asyncio.Task[None]] = set()

    # -- opening ---------------------------------------------------------------------------------

    async def open(self) -> None:
        """Be a member of the store: others see which conversations are open here. Twice is fine.

        Raises:
            ConfigurationError: The store cannot tell who lives, and workers are to do the work.
            StoreError: It cannot be reached.
        """
        if self.is_alone:
            return
        try:
            await self._join()
        except ConfigurationError:
            if self.placement == "workers":
                raise
            self.is_alone = True

    async def close(self, grace: float) -> None:
        """Leave. What has to be written yet gets `grace` seconds."""
        await self.lookout.close()
        if self._writing:
            await asyncio.wait(tuple(self._writing), timeout=grace)
            await stop(tuple(self._writing), within=grace)
        try:
            await self._presence.leave()
        except StoreError:
            _log.debug("the store was not told that this process leaves", exc_info=True)

    async def _join(self) -> None:
        self.lookout.open()  # before it looks: who joins meanwhile is heard of
        try:
            await self._presence.join()
        except BaseException:  # the one boundary: what could not be joined is not heard
            await self.lookout.close()
            raise

    # -- placing ---------------------------------------------------------------------------------

    def sends(self, key: str) -> bool:
        """Whether a call of this key is another process's to carry out."""
        if self.placement == "workers":
            return True
        keys = self._presence.keys
        if keys is None or self.placement == "here":
            return False
        self.lookout.look_at_members()
        return key in keys and self._presence.id is not None

    def is_orphan(self, key: str) -> bool:
        """Nobody will claim this."""
        keys = self._presence.keys
        if self.placement == "workers" or self._presence.id is None:
            return False
        return keys is None or key not in keys

    async def take_back(self, job_id: str, key: str) -> StoredJob | None:
        """Claim a queued job for this process; None: it is not to be had."""
        me = self._presence.id
        if me is None:
            return None
        try:
            claimed = await self.queue.claim(me, [key], limit=1, job_id=job_id)
        except StoreError:
            _log.debug("%s could not be claimed", job_id, exc_info=True)
            return None
        return claimed[0] if claimed else None

    # -- what goes on elsewhere ------------------------------------------------------------------

    def let_go(self, conversation_id: ConversationId, *, is_taken: bool = False) -> None:
        """What of it is out goes on, for whoever takes the conversation up, or has taken it."""
        self._away.add(conversation_id)
        if is_taken:
            self._taken.add(conversation_id)

    def take_up(self, conversation_id: ConversationId) -> None:
        """It is this process's again."""
        self._away.discard(conversation_id)
        self._taken.discard(conversation_id)

    def is_taken(self, conversation_id: ConversationId) -> bool:
        """Another process has it: not all that a task of it still does here is kept."""
        return conversation_id in self._taken

    def lets_go(self, conversation_id: ConversationId) -> bool:
        return conversation_id in self._away

    def show(self, record: TaskRecord) -> None:
        """Keep a task as it is now."""
        self._keeper.moved(record)

    async def safe(self) -> None:
        """Return when all that was handed over is stored."""
        await self._keeper.safe()

    # -- writing ---------------------------------------------------------------------------------

    def cancel_soon(self, job_id: str, reason: str, *, of: ConversationId | None = None) -> None:
        """Ask for the end of a job. `of`: not if another process has this conversation by now,
        for then it is that one's."""

        async def cancel() -> None:
            names = None if of is None else self.owning.names(of)
            try:
                stands = await self.queue.cancel(job_id, reason, had_by=names)
            except ConversationTakenError as error:
                self.let_go(ConversationId(error.conversation_id), is_taken=True)
                self.lookout.wake(job_id)
            else:
                self.lookout.seen(job_id, stands)

        self._write_soon(cancel, f"cancelling {job_id}")

    def give_back_soon(self, job: StoredJob) -> None:
        """Let somebody else have a job that was claimed here and did not begin."""
        owner = job.owner or ""
        give_back = partial(self.queue.hand_back, owner, [job.id])
        self._write_soon(give_back, f"giving {job.id} back")

    def finish_soon(self, job: StoredJob, result: JsonObject) -> None:
        """End a job that was claimed here."""
        self._write_soon(partial(_finish, self.queue, job, result), f"finishing {job.id}")

    async def finish(self, job: StoredJob, result: JsonObject) -> None:
        """End a job that was claimed here, before its task ends: or a survivor might run it."""
        try:
            await _finish(self.queue, job, result)
        except BaseException as error:  # the one boundary: whatever came between, it is to end
            self.finish_soon(job, result)
            if not isinstance(error, StoreError):
                raise

    async def answer(self, asked: Record[Ask], answer: str, note: str | None) -> None:
        closed = replace(
            asked,
            status=answer,
            at=self.now(),
            value=replace(asked.value, answer=answer, note=note),
        )
        await _insisting(partial(self._store.swap, closed, expect="open"), asked.id)

    def _write_soon(self, write: Callable[[], Awaitable[object]], name: str) -> None:
        task = spawn(_insisting(write, name), name=name, done=self._writing.discard)
        self._writing.add(task)

    # -- what an earlier process has sent out ------------------------------------------------------

    async def left(
        self, conversation_id: ConversationId, tasks: Sequence[TaskSnapshot]
    ) -> Mapping[TaskId, Outside]:
        if self._presence.id is not None:
            await self._earlier.end_orphans(conversation_id, tasks)
        jobs = await self._earlier.jobs(tasks)
        if not jobs:
            return {}
        await self._join()  # whoever does all here has to hear of these
        return await self._earlier.outside(conversation_id, jobs)


async def _finish(queue: Queue, job: StoredJob, result: JsonObject) -> None:
    is_over = await queue.finish(job.id, job.owner or "", result)
    if not is_over and result != LOST:
        # This process was taken for dead, and another one does it once more: for nobody.
        await queue.cancel(job.id, "its task has ended")


async def _insisting(write: Callable[[], Awaitable[object]], name: str) -> None:
    """Write something, however long the store is away."""
    try:
        await insist(write)
    except ConversationTakenError:
        pass  # it is for who has it
    except StoreError:
        _log.exception("%s failed", name)
