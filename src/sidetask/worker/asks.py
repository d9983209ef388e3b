"""What jobs ask people: each question is a record in the store, which the job's home answers.

The workshop's manager hands its questions over to be kept, as it would to a store, and goes on when
a decision is entered; all between is here. A job that begins again asks again: what has the same
reason and details as a question of its earlier life is that question, open or answered. Another one
is asked anew, for an answer holds for what was asked alone.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from os import urandom

from sidetask.core.errors import (
    AlreadyDecidedError,
    ApprovalNotFoundError,
    SidetaskError,
    StoreError,
    StoreUnavailableError,
)
from sidetask.core.ids import ApprovalId, ConversationId, TaskId
from sidetask.core.jsons import Json, JsonObject, canonical
from sidetask.stores.base import Record
from sidetask.tasks.aio.spawn import spawn, stop
from sidetask.tasks.handle import ManagerHandle
from sidetask.tasks.parts.asking import IN_BODY
from sidetask.tasks.parts.records import Keeping, TaskRecord
from sidetask.tasks.remote.values import ASKS, Ask, ask_id
from sidetask.tasks.values import Approval, Decision, Resolution
from sidetask.worker.work import Work
from sidetask.worker.workshop import Workshop

BY = "home"
"""Who has decided, for the workshop's own records: who really has, they know at home."""
PAUSE = 0.5
"""Seconds until a store that was away is tried again."""
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Asked:
    """A question that the workshop waits for."""

    work: Work
    approval: Approval
    record: Record[Ask] | None = None
    """None: it is on its way to the store."""


@dataclass(slots=True)
class _Life:
    """The questions of one job."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """They are numbered in the order in which they are asked."""
    earlier: list[Record[Ask]] | None = None
    """Those of earlier lives that were not asked again yet; None: nobody has looked."""
    last: int = 0
    """The number of the last one."""


class Asks(Keeping):
    """Keeps what the tasks of a workshop ask, and nothing else of them."""

    def __init__(self, works: dict[TaskId, Work]) -> None:
        self.tag = urandom(3).hex()
        self.room_is_free: Callable[[], None] = lambda: None
        """Called when a job waits for a person from now on."""
        self._works = works
        self._open: dict[ApprovalId, _Asked] = {}
        self._lives: dict[str, _Life] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self._changed: dict[ConversationId | None, None] = {}
        self._looking: asyncio.Task[None] | None = None
        self._unlisten: Callable[[], None] = lambda: None

    def begin(self, shop: Workshop) -> None:
        """Hear of answers from now on."""
        self._shop = shop
        self._unlisten = shop.lasting.listen(self.hear)

    async def close(self) -> None:
        """Hear of nothing more."""
        self._unlisten()
        looking = [] if self._looking is None else [self._looking]
        await stop([*self._asking, *looking], within=1.0)

    def forget(self, job_id: str) -> None:
        """The job is over."""
        self._lives.pop(job_id, None)

    # -- what the manager hands over ---------------------------------------------------------------

    def moved(self, record: TaskRecord) -> bool:
        work = self._works.get(record.id)
        if work is not None:
            work.settle(record)
        return True

    def asked(self, approval: Approval) -> None:
        if approval.decision is not Decision.OPEN:
            self._withdrawn(approval)
            return
        work = _root(approval.task_id, self._works, self._shop.manager.handle())
        if work is None:
            return
        if approval.conversation_id != work.job.conversation_id and self._shop.answers:
            return  # of an agent that was opened here: its host's function is asked
        asked = self._open[approval.id] = _Asked(work, approval)
        name = f"question {approval.id}"
        self._asking.add(spawn(self._ask(asked), name=name, done=self._asking.discard))
        self.room_is_free()

    def recall(self, asked: Approval, enter: Callable[[Approval], None]) -> None:
        """A workshop takes up nothing of an earlier process: see `_put` for what was asked."""

    def rule(
        self, decided: Approval, enter: Callable[[Approval], None], over: Callable[[], None]
    ) -> None:
        self._open.pop(decided.id, None)
        enter(decided)
        over()

    def dropped(self, record: TaskRecord) -> None:
        """It was never launched."""

    def posted(self, resolution: Resolution, *, to_loop: bool) -> None:
        """Who waits for a child has it; results for a model are those of agents opened here."""

    def taken(self, results: Iterable[Resolution]) -> None:
        """See `posted`."""

    def pay(self) -> None:
        """Nothing is owed: a question is handed over until it is taken."""

    async def safe(self) -> None:
        """Nothing of a workshop is found by a restart."""

    # -- asking ------------------------------------------------------------------------------------

    async def _ask(self, asked: _Asked) -> None:
        life = self._lives.setdefault(asked.work.job.id, _Life())
        async with life.turn:
            while asked.approval.id in self._open:
                try:
                    asked.record = await self._put(asked, life)
                    break
                except StoreUnavailableError:
                    await asyncio.sleep(PAUSE)
                except (SidetaskError, TypeError, ValueError):  # its details are no JSON
                    _log.exception("what %s asks cannot be stored", asked.work.job.id)
                    self._enter(asked.approval.id, "denied", "the question could not be stored")
                    return
        if asked.record is not None:
            await self._look_at(asked)

    async def _put(self, asked: _Asked, life: _Life) -> Record[Ask]:
        """The record of a question: that of an earlier life, or a new one."""
        job, store = asked.work.job, self._shop.lasting
        if life.earlier is None:
            found: list[Record[Ask]] = []
            while kept := await store.get(
                ASKS, job.conversation_id, ask_id(job.id, len(found) + 1)
            ):
                found.append(kept)
            life.earlier, life.last = found, len(found)
        reason, details = _words(asked.approval, job.task_id)
        for kept in life.earlier:
            if kept.status != "withdrawn" and _is_same(kept.value, reason, details):
                life.earlier.remove(kept)
                return kept
        record = Record(
            kind=ASKS,
            conversation_id=job.conversation_id,
            id=ask_id(job.id, life.last + 1),
            status="open",
            at=self._shop.now(),
            value=Ask(job_id=job.id, reason=reason, details=details),
        )
        store.put(record)
        life.last += 1
        return record

    def _withdrawn(self, approval: Approval) -> None:
        """Nobody waits for the answer any more."""
        asked = self._open.pop(approval.id, None)
        if asked is None or asked.record is None or asked.work.leaving:
            return
        with suppress(StoreError):  # home sees that the job is over
            self._shop.lasting.put(replace(asked.record, status="withdrawn", at=self._shop.now()))

    # -- hearing -----------------------------------------------------------------------------------

    def hear(self, conversation_id: ConversationId | None) -> None:
        """See whether there are answers in this conversation; None: in any."""
        if not self._open:
            return
        self._changed[conversation_id] = None
        if self._looking is None:
            self._looking = spawn(self._look(), name="answers", done=self._looked)

    def _looked(self, _: "asyncio.Task[None]") -> None:
        self._looking = None

    async def _look(self) -> None:
        while self._changed:
            which = next(iter(self._changed))
            del self._changed[which]
            for asked in tuple(self._open.values()):
                if which is None or which == asked.work.job.conversation_id:
                    await self._look_at(asked)

    async def _look_at(self, asked: _Asked) -> None:
        """See whether there is an answer."""
        record = asked.record
        if record is None:
            return  # it is looked at when it has been put
        try:
            kept = await self._shop.lasting.get(ASKS, record.conversation_id, record.id)
        except StoreError:
            _log.warning("what was answered is not known yet", exc_info=True)
            return
        if kept is not None and not kept.open:
            self._enter(asked.approval.id, kept.status, kept.value.note)

    def _enter(self, approval_id: ApprovalId, answer: str, note: str | None) -> None:
        if approval_id not in self._open:
            return
        handle = self._shop.manager.handle()
        with suppress(AlreadyDecidedError, ApprovalNotFoundError):
            if answer == "approved":
                handle.approve(approval_id, by=BY, note=note)
            else:
                handle.deny(approval_id, note, by=BY)


def _root(
    task_id: TaskId | None, works: Mapping[TaskId, Work], handle: ManagerHandle
) -> Work | None:
    """The job whose task this is, or whose task started it."""
    while task_id is not None:
        work = works.get(task_id)
        if work is not None:
            return work
        task_id = handle.get(task_id).parent_id
    return None


def _words(approval: Approval, task_id: TaskId) -> tuple[str, JsonObject]:
    """What a person is asked at home: as the body said it; or, of a child, what it would do."""
    if approval.kind == IN_BODY and approval.task_id == task_id:
        return approval.reason, dict(approval.metadata)
    call = approval.call
    details: dict[str, Json] = {**approval.metadata, "tool": call.name, "arguments": call.arguments}
    return approval.reason or approval.summary, details


def _is_same(asked: Ask, reason: str, details: JsonObject) -> bool:
    return asked.reason == reason and canonical(dict(asked.details)) == canonical(dict(details))
