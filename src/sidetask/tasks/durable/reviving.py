"""Taking up again what an earlier process has left of a conversation's tasks.

    row of the task          what becomes of it
    -----------------------  ----------------------------------------------------------------
    ended, result not taken  the result waits to be taken, as before
    queued                   queued: nothing of it had begun
    running                  as its `on_crash` says: it fails with an unknown outcome, runs again,
                             or a person is asked
    awaiting approval        the questions are open again; what was decided meanwhile counts
    its arguments are not    it fails: nobody can run it any more
    stored
    out, with its job        it waits for its job again, whatever its `on_crash` says: nothing of it
                             begins a second time. What its body asks is the same question again
    foreground, running      it fails, and nobody hears of it but its event: its turn is over, and
                             its call is answered with the turn
    a child of a task        not kept: whoever awaits it starts it again
    of a conversation that   gone with its conversation, questions and results too: see `below`
    works for a task

All is read first. Then it is taken up in one go, so that nothing sees half of it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TypeVar

from sidetask.core.errors import ArgumentsNotStoredError, OutcomeUnknownError, SidetaskError
from sidetask.core.events import TaskCancelled
from sidetask.core.ids import CallId, ConversationId, TaskId, value
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.messages import ToolCall
from sidetask.core.routing import OnCrash, TaskKind, background
from sidetask.stores.base import PAGE, Kind, Record, Records
from sidetask.tasks.elsewhere import Elsewhere, Outside
from sidetask.tasks.parts.asking import IN_BODY
from sidetask.tasks.parts.records import Ending, Past, TaskRecord
from sidetask.tasks.stored import APPROVALS, NOT_STORED, RESULTS, TASKS
from sidetask.tasks.values import (
    Approval,
    ApprovalRequest,
    Decision,
    Errored,
    Resolution,
    TaskLaunch,
    TaskSnapshot,
)
from sidetask.tasks.wiring import Parts

T = TypeVar("T")

AFTER_CRASH = "crash"
"""The kind of the question whether a task that was running may run again."""


@value(kw_only=True)
class Left:
    """What an earlier process has left of a conversation."""

    tasks: Sequence[TaskSnapshot]
    results: Sequence[Record[Resolution]]
    approvals: Mapping[TaskId, Sequence[Approval]]
    outside: Mapping[TaskId, Outside] = field(default_factory=dict[TaskId, Outside])


async def find_calls(store: Records, conversation_id: ConversationId) -> Mapping[CallId, TaskId]:
    """The calls whose end will still be told, though their turn is over, and by which task."""
    found: dict[CallId, TaskId] = {}
    for task in await all_open(store, TASKS, conversation_id):
        waits = task.value.status is TaskStatus.AWAITING_APPROVAL
        if waits or task.value.kind is TaskKind.BACKGROUND:
            found.update(dict.fromkeys(task.value.call_ids, task.value.id))
    for result in await all_open(store, RESULTS, conversation_id):
        found.update(dict.fromkeys(result.value.call_ids, result.value.task_id))
    return found


async def read_left(
    store: Records, conversation_id: ConversationId, elsewhere: Elsewhere | None = None
) -> Left:
    """Read what of a conversation's tasks has not ended or was not taken."""
    results = await all_open(store, RESULTS, conversation_id)
    tasks = [each.value for each in await all_open(store, TASKS, conversation_id)]
    approvals: dict[TaskId, list[Approval]] = {}
    which = None if tasks else True  # decided ones matter to the tasks alone
    for asked in await _all(store, APPROVALS, conversation_id, open=which):
        approvals.setdefault(asked.value.task_id, []).append(asked.value)
    outside: Mapping[TaskId, Outside] = {}
    if elsewhere is not None:
        outside = await elsewhere.left(conversation_id, tasks)
    return Left(tasks=tasks, results=results, approvals=approvals, outside=outside)


def take_up(parts: Parts, left: Left, elsewhere: Elsewhere | None = None) -> None:
    """Go on with all of it. What is here already is left alone."""
    for result in left.results:
        found = result.value
        if not parts.mailbox.holds(found.conversation_id, found.task_id):
            parts.mailbox.restore(found, to_loop=result.status != "host")
    for task in left.tasks:
        if parts.ledger.records.find(task.id) is not None:
            continue
        asked, outside = left.approvals.get(task.id, ()), left.outside.get(task.id)
        if outside is None or elsewhere is None:
            _take_up(parts, task, asked)
        else:
            _wait_again(parts, task, asked, outside, elsewhere)
    for task_id, asked in left.approvals.items():
        _withdraw(parts, task_id, asked)
    for result in left.results:
        if result.status != "host":
            found = result.value
            parts.delivery.ask_to_continue(found.conversation_id, found.task_id, found.on_complete)


def _take_up(parts: Parts, task: TaskSnapshot, asked: Sequence[Approval]) -> None:
    record = _record(parts, task, asked)
    if NOT_STORED in task.metadata:
        record.status = TaskStatus.RUNNING
    parts.ledger.restore(record)
    if NOT_STORED in task.metadata:
        if task.kind is TaskKind.FOREGROUND:
            parts.ledger.detach(record, "restart")
        _fail(parts, record, ArgumentsNotStoredError(record.id, record.call.name))
        return
    match task.status:
        case TaskStatus.QUEUED if not record.foreground:
            parts.runner.launch(record, background())
        case TaskStatus.QUEUED:
            ending = Ending(TaskCancelled, "the process ended before it began")
            parts.delivery.stopped(record, ending)
            parts.runner.release(record)
        case TaskStatus.AWAITING_APPROVAL:
            if task.kind is TaskKind.FOREGROUND:
                parts.ledger.detach(record, "restart")
            parts.asking.restore(record, asked)
        case _ if record.foreground or record.launch.policy.on_crash is OnCrash.FAIL:
            _fail(parts, record, OutcomeUnknownError(record.id, record.call.name))
        case _ if record.launch.policy.on_crash is OnCrash.RETRY:
            record.status = TaskStatus.QUEUED
            parts.ledger.begin_anew(record)
            parts.runner.launch(record, background())
        case _:
            reason = f"{record.call.name} was running when the process ended. Run it again?"
            parts.asking.suspend(record, (ApprovalRequest(kind=AFTER_CRASH, reason=reason),))


def _wait_again(
    parts: Parts,
    task: TaskSnapshot,
    asked: Sequence[Approval],
    outside: Outside,
    elsewhere: Elsewhere,
) -> None:
    record = _record(parts, task, asked)
    assert record.past is not None
    no = [each for each in asked if each.decision in (Decision.DENIED, Decision.EXPIRED)]
    if no and task.status is TaskStatus.AWAITING_APPROVAL:
        parts.ledger.restore(record)
        parts.asking.restore(record, no)
        elsewhere.cancel_soon(outside.job_id, "it was denied")
        return
    record.status = TaskStatus.QUEUED
    record.remote = outside.job_id
    record.past.admitted = outside.call
    record.past.granted -= outside.answered
    record.past.asked += [
        each for each in asked if each.kind == IN_BODY and each.decision is Decision.OPEN
    ]
    parts.ledger.restore(record)
    parts.runner.launch(record, background())


def _withdraw(parts: Parts, task_id: TaskId, asked: Sequence[Approval]) -> None:
    """Close the questions that nobody waits for. Their task is gone, for it was the child of one
    that begins again, and asks again; or it goes on with other arguments."""
    waits = {each.id for each in parts.approvals.of_task(task_id)}
    record = parts.ledger.records.find(task_id)
    if record is not None and record.past is not None:
        waits |= {each.id for each in record.past.asked}
    for approval in asked:
        is_open = approval.decision is Decision.OPEN and approval.id not in waits
        if is_open and parts.keeper is not None:
            parts.keeper.asked(approval.withdrawn(parts.outbox.now()))


def _fail(parts: Parts, record: TaskRecord, error: SidetaskError) -> None:
    """Nobody knows how far it got."""
    parts.delivery.failed(record, Errored(str(error), type(error).__name__))
    parts.runner.release(record)


def _record(parts: Parts, task: TaskSnapshot, asked: Sequence[Approval]) -> TaskRecord:
    launch = TaskLaunch(
        call=ToolCall(task.call_ids[0], task.name, task.arguments),
        conversation_id=task.conversation_id,
        turn_id=task.turn_id,
        route=background(),
        policy=task.policy,
        executor=task.executor,
        metadata=task.metadata,
    )
    waits = task.status is TaskStatus.AWAITING_APPROVAL
    kind = TaskKind.BACKGROUND if waits else task.kind
    journal = parts.outbox.journal(task.conversation_id)
    record = TaskRecord(task.id, launch, kind, journal, task.created_at)
    record.in_step = False
    record.kept = True
    record.status = task.status
    record.detached = task.detached
    record.attempt = task.attempt
    record.started_at = task.started_at
    record.progress = task.progress
    yes = [each for each in asked if each.decision is Decision.APPROVED]
    record.approved = {(each.kind, each.digest) for each in yes} or None
    record.past = Past(Counter(each.reason for each in yes if each.kind == IN_BODY))
    return record


async def all_open(
    store: Records, kind: Kind[T], conversation_id: ConversationId
) -> list[Record[T]]:
    """The open records of a conversation, of one kind."""
    return await _all(store, kind, conversation_id, open=True)


async def _all(
    store: Records, kind: Kind[T], conversation_id: ConversationId, *, open: bool | None = None
) -> list[Record[T]]:
    found: list[Record[T]] = []
    while True:
        after = found[-1] if found else None
        page = await store.find(kind, conversation_id=conversation_id, open=open, after=after)
        found += page
        if len(page) < PAGE:
            return found
