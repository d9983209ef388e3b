"""One call that another process carries out, as its home follows it.

    the job         what its home does
    --------------  ---------------------------------------------------------------------------
    queued          waits; where nobody lives that knows its key, claims it and runs it itself,
                    unless two processes have died of it
    running         shows its progress, puts its questions to a person; its timeout runs
    cancelling      waits until its work has stopped, as long as the task's grace lets it
    parked          says so in the task's progress, and waits
    ended           reads its outcome; a lost one ends the call as its `on_crash` says
    cancelled, gone ends the call

It holds what was last seen of its job. What changes wakes it, and it looks again; whatever it
missed is found by the next look.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress

from sidetask.core.errors import (
    ApprovalDeniedError,
    CodecError,
    OutcomeUnknownError,
    SidetaskError,
)
from sidetask.core.events import TaskCancelled, TaskDenied, TaskTimedOut
from sidetask.core.ids import ConversationId
from sidetask.core.jsons import JsonObject
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.routing import OnCrash
from sidetask.stores.base import Record
from sidetask.stores.queue import MAX_CLAIMS, OVER, StoredJob
from sidetask.tasks.aio.spawn import spawn, wait_done
from sidetask.tasks.durable.reviving import AFTER_CRASH
from sidetask.tasks.parts.body import TaskBody
from sidetask.tasks.parts.records import Ending, TaskRecord
from sidetask.tasks.parts.runner import Runner
from sidetask.tasks.remote.post import Post
from sidetask.tasks.remote.values import Ask, outcome_from_json, progress_from_json
from sidetask.tasks.values import (
    ApprovalNeeded,
    ApprovalRequest,
    Errored,
    Progress,
    ToolOutcome,
)

_log = logging.getLogger(__name__)


class RemoteCall:
    """Waits for the outcome of a job."""

    def __init__(self, home: Post, body: TaskBody, job_id: str, key: str) -> None:
        self._home = home
        self._body = body
        self.record = body.record
        self.job_id = job_id
        self.key = key
        self.job: StoredJob | None = None
        """As it was last seen; None: it was not yet."""
        self.is_gone = False
        """Somebody has deleted it."""
        self.mine: StoredJob | None = None
        """It was claimed back."""
        self._changed = asyncio.Event()
        self._progress: JsonObject | None = None
        self._is_parked = False
        self._asked: Mapping[str, Record[Ask]] = {}
        self._answered: set[str] = set()
        self._question: tuple[str, asyncio.Task[None]] | None = None

    @property
    def conversation_id(self) -> ConversationId:
        return self.record.launch.conversation_id

    # -- hearing ---------------------------------------------------------------------------

    def seen(self, job: StoredJob | None) -> None:
        """Its job stands like this now; None: it is gone."""
        if job is None:
            self.is_gone = True
        elif self.job is None or self.job.status not in OVER:
            self.job = job
        self._changed.set()

    def asks(self, asked: Mapping[str, Record[Ask]]) -> None:
        """These questions of it are open."""
        self._asked = asked
        self._changed.set()

    def look_again(self) -> None:
        """Who lives has changed, or time has passed."""
        self._changed.set()

    # -- following -------------------------------------------------------------------------

    async def outcome(self) -> ToolOutcome | None:
        """Wait for the outcome; None: the job was claimed back, and is to be run here."""
        token = self._body.token
        self._home.lookout.watch(self, is_new=self._body.admitted is None)
        token.listen(self._stop)
        _drop_limit(self.record)
        try:
            return await self._follow()
        except asyncio.CancelledError:
            if not self._home.lets_go(self.conversation_id):
                await self._wait_stopped()
            elif self.mine is not None:
                self._home.give_back_soon(self.mine)
            raise
        finally:
            token.unlisten(self._stop)
            self._home.lookout.unwatch(self)
            await self._drop_question()

    async def _follow(self) -> ToolOutcome | None:
        while True:
            self._changed.clear()
            if self.record.ended:  # it was denied, and its work has not stopped in time
                self._home.cancel_soon(self.job_id, "its task has ended", of=self.conversation_id)
                return Errored("the task has ended", "TaskFencedError")
            job = self.job
            if self.is_gone:
                return self._lost()
            if job is not None and job.status in OVER:
                return self._ended(job)
            if job is not None:
                self._show(job)
            await self._put_questions()
            if self._may_be_taken_back(job) and self._home.is_orphan(self.key):
                await self._take_back()
                if self.mine is not None:
                    _arm_limit(self._home.runner, self.record)
                    return None
            await self._changed.wait()

    def _may_be_taken_back(self, job: StoredJob | None) -> bool:
        """What two processes have died of is left to workers: it would end all conversations that
        are open here."""
        if job is None:
            return self._body.admitted is None  # of an earlier home's it is not known yet
        return job.status == "queued" and job.claims < MAX_CLAIMS - 1

    async def _take_back(self) -> None:
        # Not cut off by a cancellation: whether it was claimed is known afterwards.
        claiming = spawn(self._claim(), name=f"claiming {self.job_id} back")
        try:
            await asyncio.wait({claiming})
        except asyncio.CancelledError:
            await wait_done(claiming)
            raise

    async def _claim(self) -> None:
        self.mine = await self._home.take_back(self.job_id, self.key)

    def _ended(self, job: StoredJob) -> ToolOutcome:
        if job.status == "cancelled":
            ending = Ending(TaskCancelled, job.error or "its job was cancelled")
            self._home.runner.stop(self.record, ending)
            return Errored("its job was cancelled", "CancelledError")
        try:
            outcome = outcome_from_json(job.result or {})
        except CodecError as error:
            return Errored(f"the worker's answer cannot be read: {error}", "CodecError")
        return self._lost() if outcome is None else outcome

    def _lost(self) -> ToolOutcome:
        record = self.record
        if record.launch.policy.on_crash is OnCrash.ASK:
            reason = f"{record.call.name} was running when its worker died. Run it again?"
            return ApprovalNeeded((ApprovalRequest(kind=AFTER_CRASH, reason=reason),))
        error = OutcomeUnknownError(record.id, record.call.name)
        return Errored(str(error), type(error).__name__)

    def _show(self, job: StoredJob) -> None:
        if job.status == "queued":
            _drop_limit(self.record)
        elif job.status == "running":
            _arm_limit(self._home.runner, self.record)
        if job.progress is not None and job.progress != self._progress:
            self._progress = job.progress
            with suppress(SidetaskError):  # of another release
                told = progress_from_json(job.progress)
                self._body.progress(told.fraction, told.note)
        if (job.status == "parked") is not self._is_parked:
            self._is_parked = not self._is_parked
            self._show_parked(job)

    def _show_parked(self, job: StoredJob) -> None:
        record = self.record
        if self._is_parked:
            _drop_limit(record)
            record.error = f"parked: {job.error or 'its workers died'}"
        else:
            record.error = None
        before = record.progress or Progress(None, "")
        self._body.progress(before.fraction, record.error or "")
        self._home.show(record)

    # -- stopping --------------------------------------------------------------------------

    def _stop(self) -> None:
        """The task was asked to end, in this tick."""
        ending = self.record.ending
        if ending is None or self._home.lets_go(self.conversation_id):
            return
        if ending.event is TaskDenied and self.record.topic is not None:
            return  # its body is told, and ends by itself
        self._home.cancel_soon(self.job_id, ending.reason, of=self.conversation_id)

    async def _wait_stopped(self) -> None:
        """Wait until the work has stopped, or is another process's, or the task has ended."""
        if self.mine is not None:
            self._home.give_back_soon(self.mine)
            return
        while not (self.is_gone or self.record.ended or self._home.lets_go(self.conversation_id)):
            if self.job is not None and self.job.status in OVER:
                return
            self._changed.clear()
            await self._changed.wait()

    # -- questions -------------------------------------------------------------------------

    async def _put_questions(self) -> None:
        """Ask what is to be asked, one at a time; nobody waits for what was withdrawn."""
        if self._question is not None:
            if self._question[0] in self._asked and not self._question[1].done():
                return
            await self._drop_question()
        for id, asked in self._asked.items():
            if id not in self._answered:
                self._question = id, spawn(self._ask(asked), name=f"question {id}")
                return

    async def _ask(self, asked: Record[Ask]) -> None:
        answer, note = "approved", None
        try:
            await self._body.request_approval(asked.value.reason, asked.value.details)
        except ApprovalDeniedError as error:
            answer, note = "denied", error.note
        except SidetaskError:  # the task ends, and so does the job
            _log.debug("%s is not asked", asked.id, exc_info=True)
            return
        self._answered.add(asked.id)
        await self._home.answer(asked, answer, note)
        self._changed.set()

    async def _drop_question(self) -> None:
        question, self._question = self._question, None
        if question is not None:
            question[1].cancel()
            await wait_done(question[1])  # it leaves the record as it shall be


def _drop_limit(record: TaskRecord) -> None:
    """Waiting in a queue does not count."""
    if record.limit_timer is not None and record.ending is None:
        record.limit_timer.cancel()
        record.limit_timer = None


def _arm_limit(runner: Runner, record: TaskRecord) -> None:
    """It runs: its time begins."""
    timeout = record.launch.policy.timeout
    runs = record.status is TaskStatus.RUNNING and record.ending is None
    if timeout is not None and runs and record.limit_timer is None:
        loop = asyncio.get_running_loop()
        ending = Ending(TaskTimedOut, "timeout")
        record.limit_timer = loop.call_later(timeout, runner.stop, record, ending)
