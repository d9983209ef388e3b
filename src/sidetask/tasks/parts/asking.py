"""Asking for approval, and going on when a person has decided.

Before the body runs, nothing has happened: the attempt is over, and the approved call runs as
a new one. Inside a body, the body waits where it is, its permits given back, and goes on as a
new attempt when they are to be had again.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from sidetask.core.errors import (
    AlreadyDecidedError,
    ApprovalDeniedError,
    InvalidInputError,
)
from sidetask.core.events import ApprovalDecided, ApprovalRequested, TaskDenied
from sidetask.core.ids import ApprovalId
from sidetask.core.jsons import JsonObject
from sidetask.core.messages import ToolCall
from sidetask.core.routing import Route, TaskKind
from sidetask.tasks.aio.outbox import Outbox
from sidetask.tasks.parts.approvals import Approvals
from sidetask.tasks.parts.body import TaskBody
from sidetask.tasks.parts.delivery import Delivery
from sidetask.tasks.parts.ledger import Ledger
from sidetask.tasks.parts.records import Ending, Keeping, Past, TaskRecord
from sidetask.tasks.parts.runner import Runner
from sidetask.tasks.values import Approval, ApprovalRequest, Decision, Errored

IN_BODY = "body"
"""The kind of an approval that a running tool asked for."""


class Asking:
    """The way of a task through its approvals."""

    def __init__(  # noqa: PLR0913 - wired in one place
        self,
        approvals: Approvals,
        ledger: Ledger,
        runner: Runner,
        delivery: Delivery,
        outbox: Outbox,
        *,
        route_of: Callable[[ToolCall, Route], Route],
        age: float | None,
        keeper: Keeping | None = None,
    ) -> None:
        self._keeper = keeper
        self._approvals = approvals
        self._ledger = ledger
        self._runner = runner
        self._delivery = delivery
        self._outbox = outbox
        self._route_of = route_of
        self._age = age
        self._expiries: dict[ApprovalId, asyncio.TimerHandle] = {}

    # -- asking ---------------------------------------------------------------------------

    def suspend(self, record: TaskRecord, requests: tuple[ApprovalRequest, ...]) -> None:
        """The attempt is over; another one follows when all requests are approved."""
        try:
            record.call.digest()
        except InvalidInputError as error:  # nothing to bind an approval to
            self._delivery.failed(record, Errored(str(error), "InvalidInputError"))
            self._runner.release(record)
            return
        self._runner.pause(record)
        for request in requests:
            self._ask(record, request)
        self._delivery.check_idle(record.launch.conversation_id)

    async def ask_in_body(self, body: TaskBody, reason: str, details: JsonObject) -> None:
        """Wait in the body for a decision.

        Raises:
            ApprovalDeniedError: It was denied, or expired.
            InvalidInputError: Something else of this body waits for a decision already.
        """
        record = body.record
        if record.topic is not None:
            raise InvalidInputError("one question at a time: this tool waits for an answer already")
        if record.past is not None and record.past.granted[reason] > 0:
            record.past.granted[reason] -= 1  # it was answered before the restart
            return
        approval = self._ask(record, ApprovalRequest(kind=IN_BODY, reason=reason, metadata=details))
        record.topic = approval.id
        self._runner.pause(record)
        self._delivery.check_idle(record.launch.conversation_id)
        try:
            granted = await body.job.wait(approval.id)
        except BaseException:  # the one boundary: whatever ends the wait, the record stays true
            record.topic = None
            if record.ending is None:  # the tool gave up waiting, and goes on without an answer
                self.give_up(record, approval.id)
            raise
        record.topic = None
        if not granted:
            note = self._approvals.get(approval.id).note
            raise ApprovalDeniedError(approval.id, note)

    # -- deciding -------------------------------------------------------------------------

    def approve(
        self, approval_id: str, *, by: str, note: str | None, arguments: JsonObject | None
    ) -> Approval:
        """Enter a yes, perhaps to other arguments than were asked for."""
        asked = self._approvals.get(approval_id)
        changed = None
        if arguments is not None:
            changed = ToolCall.make(asked.call.name, arguments, id=asked.call.id)
            if changed.digest() == asked.digest:
                changed = None
            elif asked.kind == IN_BODY and asked.decision is Decision.OPEN:
                raise InvalidInputError(
                    "the tool is running with its arguments: approve or deny it as it is"
                )
        approval = self._decided(asked.id, Decision.APPROVED, by, note)
        if changed is not None:
            approval = replace(approval, call=changed, digest=changed.digest())
        return self._rule(approval)

    def deny(self, approval_id: str, reason: str | None, *, by: str) -> Approval:
        """Enter a no: the task is denied, whatever else was approved."""
        return self._rule(self._decided(approval_id, Decision.DENIED, by, reason))

    def enter(self, decided: Approval) -> None:
        """This decision stands, whoever made it. What is not open any more is left alone."""
        if not self._approvals.is_open(decided.id):
            return
        asked = self._close(decided)
        record = self._ledger.records.find(asked.task_id)
        if record is None:
            return
        if decided.digest != asked.digest and decided.call.digest() != decided.digest:
            note = "the arguments that were approved were not stored: approve them here"
            self._runner.stop(record, Ending(TaskDenied, note))
        elif decided.decision is not Decision.APPROVED:
            note = decided.note or f"{decided.decided_by} said no"
            self._runner.stop(record, Ending(TaskDenied, note))
        elif not record.fenced:
            self._approved(record, asked, decided)

    def withdraw(self, record: TaskRecord) -> None:
        """The task's open questions matter no more."""
        for approval in self._approvals.of_task(record.id):
            self._withdraw(approval.id, None)
        if record.past is not None and self._keeper is not None:
            for approval in record.past.asked:
                self._keeper.asked(approval.withdrawn(self._outbox.now()))
            record.past.asked.clear()

    def close(self) -> None:
        for timer in self._expiries.values():
            timer.cancel()
        self._expiries.clear()

    def restore(self, record: TaskRecord, approvals: Sequence[Approval]) -> None:
        """Take up again what an earlier process has asked about a task that waits: decided
        meanwhile, or still open."""
        yes = [each for each in approvals if each.decision is Decision.APPROVED]
        last = max(yes, key=lambda each: each.decided_at or 0.0, default=None)
        if last is not None and last.digest != record.call.digest():  # to other arguments
            if last.call.digest() != last.digest:
                note = "the arguments that were approved were not stored"
                self._runner.stop(record, Ending(TaskDenied, note))
                return
            record.call, record.approved = last.call, {(last.kind, last.digest)}
            self._relaunch(record)
            return
        for approval in approvals:
            if approval.decision is Decision.OPEN:
                self._again(approval)
            elif approval.decision in (Decision.DENIED, Decision.EXPIRED):
                note = approval.note or f"{approval.decided_by} said no"
                self._runner.stop(record, Ending(TaskDenied, note))
                return
        if not self._approvals.of_task(record.id):
            self._relaunch(record)

    # -- steps ---------------------------------------------------------------------------

    def _ask(self, record: TaskRecord, request: ApprovalRequest) -> Approval:
        asked = None if record.past is None else record.past.take_asked(request.reason)
        if asked is not None:
            approval = self._again(asked)
        else:
            now = self._outbox.now()
            approval = self._approvals.ask(
                record.id,
                record.launch.conversation_id,
                record.call,
                request,
                now=now,
                expires_at=None if self._age is None else now + self._age,
            )
            if self._age is not None:
                self._arm(approval.id, self._age)
            if self._keeper is not None:
                self._keeper.asked(approval)
        self._ledger.tell(
            record,
            ApprovalRequested,
            approval_id=approval.id,
            arguments=approval.call.arguments,
            reason=approval.reason,
            summary=approval.summary,
            metadata=approval.metadata,
        )
        return approval

    def _again(self, approval: Approval) -> Approval:
        """What an earlier process has asked is the same question, under the same id."""
        self._approvals.restore(approval)
        if approval.expires_at is not None:
            self._arm(approval.id, approval.expires_at - self._outbox.now())
        if self._keeper is not None:
            self._keeper.recall(approval, self.enter)
        return approval

    def _arm(self, approval_id: ApprovalId, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._expiries[approval_id] = loop.call_later(max(seconds, 0), self._expire, approval_id)

    def _expire(self, approval_id: ApprovalId) -> None:
        note = "nobody decided in time"
        try:
            self._rule(self._decided(approval_id, Decision.EXPIRED, "expiry", note))
        except AlreadyDecidedError:
            return  # decided in this very tick

    def _decided(self, approval_id: str, decision: Decision, by: str, note: str | None) -> Approval:
        return self._approvals.decided(
            approval_id, decision, by=by, note=note, now=self._outbox.now()
        )

    def _rule(self, decided: Approval) -> Approval:
        """Enter a decision: at once, or when the store has said that no other process was first.
        Nothing runs by a decision that does not stand."""
        if self._keeper is None:
            self.enter(decided)
        else:
            self._approvals.hold(decided)
            record = self._ledger.records.find(decided.task_id)
            if record is not None:  # who waits for idle waits for what a yes lets begin
                self._ledger.hold(record)
            self._keeper.rule(decided, self.enter, partial(self._ruled, decided, record))
        return decided

    def _ruled(self, decided: Approval, record: TaskRecord | None) -> None:
        self._approvals.let_go(decided.id)
        if record is not None:
            self._ledger.let_go(record)
            self._delivery.check_idle(decided.conversation_id)

    def _withdraw(self, approval_id: str, note: str | None) -> None:
        withdrawn = self._approvals.look(approval_id).withdrawn(self._outbox.now(), note)
        if self._keeper is not None:
            self._keeper.asked(withdrawn)
        self._close(withdrawn)

    def _close(self, decided: Approval) -> Approval:
        asked = self._approvals.enter(decided)
        timer = self._expiries.pop(asked.id, None)
        if timer is not None:
            timer.cancel()
        record = self._ledger.records.find(asked.task_id)
        if record is not None:
            self._ledger.tell(
                record,
                ApprovalDecided,
                approval_id=asked.id,
                decision=str(decided.decision),
                by=decided.decided_by,
                note=decided.note,
            )
        return asked

    def _approved(self, record: TaskRecord, asked: Approval, decided: Approval) -> None:
        if record.approved is None:
            record.approved = set()
        if decided.digest == asked.digest:
            record.approved.add((asked.kind, asked.digest))
        else:  # exactly the new call is approved; other questions are asked anew about it
            record.approved = {(asked.kind, decided.digest)}
            record.call = decided.call
            self.withdraw(record)
        if asked.kind == IN_BODY and record.topic is None:  # the body begins anew, and asks again
            record.past = record.past or Past()
            record.past.granted[asked.reason] += 1
        if not self._approvals.of_task(record.id):
            self._relaunch(record)

    def _relaunch(self, record: TaskRecord) -> None:
        """All is approved: a new attempt, with a new route and a new timer."""
        route = self._route_of(record.call, record.launch.route)
        self._ledger.requeue(record)
        if route.kind is TaskKind.BACKGROUND:
            self._runner.detach(record, "route")
        self._runner.launch(record, route)

    def give_up(self, record: TaskRecord, topic: str) -> None:
        """The work goes on, or ends, without an answer."""
        if self._approvals.is_open(topic):
            self._withdraw(topic, "no longer waited for")
            self._ledger.requeue(record)
            self._runner.arm(record, self._route_of(record.call, record.launch.route))
        self._runner.resume_over_cap(record)
