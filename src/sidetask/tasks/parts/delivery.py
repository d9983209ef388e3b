"""Telling an end: what the model reads of it, who gets it, and in which order.

Synchronous. A result goes to the turn that waits, else to the conversation's pending results
or the host's, else only to the task's handle. It can be taken before its event is seen.
"""

from dataclasses import replace

from sidetask.core.errors import InvalidInputError
from sidetask.core.events import (
    ContinueRequested,
    TaskCancelled,
    TaskEnded,
    TaskFailed,
    TaskSucceeded,
    TaskTimedOut,
)
from sidetask.core.ids import CallId, ConversationId, TaskId, TurnId
from sidetask.core.lifecycle import TaskStatus, apply
from sidetask.core.routing import OnComplete, TaskKind
from sidetask.tasks.aio.outbox import CONVERSATION, Outbox
from sidetask.tasks.aio.sleepers import Sleepers, sleep_among, wake_all
from sidetask.tasks.parts.ledger import Ledger
from sidetask.tasks.parts.mailbox import Mailbox
from sidetask.tasks.parts.records import Ending, TaskRecord
from sidetask.tasks.values import (
    Completed,
    Detached,
    Errored,
    Resolution,
    Resolved,
)


class Delivery:
    """Ends records and tells everybody concerned."""

    def __init__(self, ledger: Ledger, mailbox: Mailbox, outbox: Outbox) -> None:
        self._ledger = ledger
        self._mailbox = mailbox
        self._outbox = outbox
        self._idle: dict[ConversationId | None, Sleepers] = {}
        self.closing = False
        """Nobody is asked to continue any more."""

    # -- the ends ------------------------------------------------------------------------

    def succeeded(self, record: TaskRecord, outcome: Completed) -> None:
        self._end(record, TaskSucceeded, outcome, {"metadata": outcome.metadata})

    def failed(self, record: TaskRecord, outcome: Errored) -> None:
        fields: dict[str, object] = {"error": outcome.error, "error_type": outcome.error_type}
        told = Completed(None, outcome.error, metadata=outcome.metadata)
        self._end(record, TaskFailed, told, fields, error_type=outcome.error_type)

    def stopped(self, record: TaskRecord, ending: Ending, *, abandoned: bool = False) -> None:
        """The end that was asked for has happened."""
        fields: dict[str, object] = {"abandoned": abandoned}
        if ending.event is TaskTimedOut:
            fields["timeout"] = record.launch.policy.timeout or 0.0
        else:
            fields["reason"] = ending.reason
        told = Completed(None, ending_text(record, ending, abandoned=abandoned))
        self._end(record, ending.event, told, fields, error_type=ending.event.__name__)

    def cut_off(
        self, record: TaskRecord, ending: Ending, call_ids: tuple[CallId, ...]
    ) -> Resolution:
        """The answer of calls whose turn will not wait until the work has stopped."""
        told = Completed(None, ending_text(record, ending))
        status = apply(record.status, ending.event)
        return _answering(_resolution(record, told, status, ending.event.__name__), call_ids)

    def redirect(self, record: TaskRecord, on_complete: OnComplete, *, to_loop: bool) -> None:
        """Change what the end does and who takes the result.

        Raises:
            InvalidInputError: It was delivered already.
        """
        conversation_id = record.launch.conversation_id
        if record.ended and not self._mailbox.redirect(
            conversation_id, record.id, on_complete=on_complete, to_loop=to_loop
        ):
            raise InvalidInputError(f"the result of {record.id} was delivered already")
        record.on_complete = on_complete
        record.to_loop = to_loop
        if record.ended and to_loop:
            self.ask_to_continue(conversation_id, record.id, on_complete)

    # -- detaching and waiting --------------------------------------------------------------

    def detached(self, record: TaskRecord) -> None:
        """All calls that waited for the task get a receipt instead."""
        launch = record.launch
        waiting: dict[TurnId, list[CallId]] = {}
        if launch.turn_id is not None:
            waiting[launch.turn_id] = [launch.call.id]
        for waiter in record.joined or ():
            if waiter.turn_id is not None and waiter.waiting:
                waiter.waiting = False
                waiting.setdefault(waiter.turn_id, []).append(waiter.call_id)
        for turn_id, call_ids in waiting.items():
            update = Detached(record.id, tuple(call_ids), record.call.name)
            self._mailbox.tell_turn(launch.conversation_id, turn_id, record.id, update)

    async def wait_ended(self, record: TaskRecord) -> Resolution:
        """Wait for the end. Cancelling the wait leaves the task alone."""
        while record.resolution is None:
            if record.listeners is None:
                record.listeners = []
            await sleep_among(record.listeners)
        return record.resolution

    async def wait_quiet(self, conversation_id: ConversationId | None) -> None:
        """Wait until no task is queued or running."""
        while self._ledger.is_busy(conversation_id):
            await sleep_among(self.quiet_sleepers(conversation_id))

    def quiet_sleepers(self, conversation_id: ConversationId | None) -> Sleepers:
        """Who is woken when no task is queued or running, whether a store takes that or not."""
        return self._idle.setdefault(conversation_id, [])

    def check_idle(self, conversation_id: ConversationId) -> None:
        """Wake who waits for idle, if it is."""
        if not self._idle:
            return
        for scope in (conversation_id, None):
            if scope in self._idle and not self._ledger.is_busy(scope):
                wake_all(self._idle.pop(scope))

    def ask_to_continue(
        self, conversation_id: ConversationId, task_id: TaskId, on_complete: OnComplete
    ) -> None:
        """Tell that a result asks for a turn of its own, if it does."""
        if on_complete is OnComplete.NOTIFY or self.closing:
            return
        interrupt = on_complete is OnComplete.INTERRUPT
        journal = self._outbox.journal(conversation_id)
        journal.fact(CONVERSATION, ContinueRequested, task_ids=(task_id,), interrupt=interrupt)

    # -- the order of an end --------------------------------------------------------------

    def _end(
        self,
        record: TaskRecord,
        event: type[TaskEnded],
        told: Completed,
        fields: dict[str, object],
        *,
        error_type: str | None = None,
    ) -> None:
        fields["duration"] = duration = self._ledger.end(record, event)
        record.error = told.content if error_type is not None else None
        record.resolution = resolution = _resolution(
            record, told, record.status, error_type, duration
        )
        observer, record.observer = record.observer, None  # no circle: freed with its last user
        if observer is not None:
            observer.ended(resolution)
        pending = self._post(record, resolution)
        if error_type is not None:
            self._mailbox.free_claims(record.launch.conversation_id, record.id)
        try:
            self._ledger.send(record, event, fields)
            if pending and record.to_loop:
                self.ask_to_continue(record.launch.conversation_id, record.id, record.on_complete)
        finally:  # a store that takes no more events keeps nobody waiting
            if record.listeners is not None:
                listeners, record.listeners = record.listeners, None
                wake_all(listeners)
            if self._idle:
                self.check_idle(record.launch.conversation_id)

    def _post(self, record: TaskRecord, resolution: Resolution) -> bool:
        """Put the result where it can be taken; True if the conversation or host has to."""
        launch = record.launch
        if record.joined is None:  # the usual case, without the detour below
            if record.kind is TaskKind.BACKGROUND:
                self._mailbox.post(resolution, to_loop=record.to_loop)
                return True
            if launch.turn_id is not None:
                self._mailbox.tell_turn(
                    launch.conversation_id, launch.turn_id, record.id, Resolved(resolution)
                )
            return False
        late = tuple([c.call_id for c in record.calls if not c.waiting and not c.answered])
        for turn_id in {call.turn_id: None for call in record.calls if call.waiting}:
            if turn_id is not None:
                calls = [c.call_id for c in record.calls if c.waiting and c.turn_id == turn_id]
                told = Resolved(_answering(resolution, tuple(calls)))
                self._mailbox.tell_turn(launch.conversation_id, turn_id, record.id, told)
        if late:
            self._mailbox.post(_answering(resolution, late), to_loop=record.to_loop)
        return bool(late)


def _resolution(
    record: TaskRecord,
    told: Completed,
    status: TaskStatus,
    error_type: str | None,
    duration: float = 0.0,
) -> Resolution:
    launch = record.launch
    return Resolution(  # by place: one is made for each call
        record.id,
        launch.conversation_id,
        launch.turn_id,
        (launch.call.id,),
        record.call.name,
        status,
        told.content,
        told.value,
        told.attachments,
        error_type,
        record.on_complete,
        duration,
        told.metadata,
    )


def ending_text(record: TaskRecord, ending: Ending, *, abandoned: bool = False) -> str:
    """What the model reads of a task that was stopped."""
    if ending.event is TaskCancelled:
        text = f"The call was cancelled: {ending.reason}."
    elif ending.event is TaskTimedOut:
        text = f"The call timed out after {record.launch.policy.timeout:g} s."
    else:
        text = f"The call was denied: {ending.reason}."
    if abandoned:
        text += " It did not stop in time and may still be running."
    return text


def _answering(resolution: Resolution, call_ids: tuple[CallId, ...]) -> Resolution:
    return replace(resolution, call_ids=call_ids)
