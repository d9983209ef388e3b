"""Calls and the turns that wait for them: joining a living task, and a user's Stop."""

import asyncio

from sidetask.core.events import TaskCancelled
from sidetask.core.ids import ConversationId, TurnId
from sidetask.core.routing import OnInterrupt, TaskKind
from sidetask.tasks.parts.delivery import Delivery
from sidetask.tasks.parts.ledger import Ledger
from sidetask.tasks.parts.mailbox import Mailbox
from sidetask.tasks.parts.records import Ending, TaskRecord, Waiter
from sidetask.tasks.parts.runner import Runner
from sidetask.tasks.values import Detached, Resolved, TaskLaunch, TurnUpdate


class Turns:
    """Who waits for what, turn by turn."""

    def __init__(
        self, ledger: Ledger, mailbox: Mailbox, runner: Runner, delivery: Delivery
    ) -> None:
        self._ledger = ledger
        self._mailbox = mailbox
        self._runner = runner
        self._delivery = delivery

    def join(self, record: TaskRecord, launch: TaskLaunch) -> TaskKind:
        """Let another call be answered by a task that is alive. Returns who waits."""
        waiting = launch.route.kind is TaskKind.FOREGROUND and launch.turn_id is not None
        waiter = Waiter(launch.call.id, launch.turn_id, waiting)
        if record.joined is None:
            record.joined = []
        record.joined.append(waiter)
        if not waiting or launch.turn_id is None:
            return TaskKind.BACKGROUND
        self._mailbox.expect(launch.conversation_id, launch.turn_id, record.id)
        own_turn = record.foreground and record.launch.turn_id == launch.turn_id
        if launch.route.after is not None and not own_turn:  # else it shares that call's timer
            loop = asyncio.get_running_loop()
            waiter.timer = loop.call_later(
                launch.route.after, self._time_is_up, record, launch.turn_id
            )
        return TaskKind.FOREGROUND

    def interrupt(self, conversation_id: ConversationId, turn_id: TurnId) -> list[TurnUpdate]:
        """A Stop: cancel or keep what the turn waits for. Returns the answers it lacks.

        The answers do not wait until the work has stopped: that end has its event later.
        """
        expected = self._mailbox.expected(conversation_id, turn_id)
        updates = self._mailbox.close_turn(conversation_id, turn_id)
        for task_id in expected:
            record = self._ledger.records.get(task_id)
            own = record.foreground and record.launch.turn_id == turn_id
            joined = _let_go(record, turn_id)
            call_ids = tuple([waiter.call_id for waiter in joined])
            if own:
                call_ids = (record.launch.call.id, *call_ids)
            keep = record.launch.policy.on_interrupt is OnInterrupt.KEEP or not own
            if keep and not record.fenced:
                if own:
                    self._runner.detach(record, "interrupt")
                updates.append(Detached(record.id, call_ids, record.call.name))
                continue
            ending = record.ending or Ending(TaskCancelled, _why(record))
            for waiter in joined:
                waiter.answered = True
            updates.append(Resolved(self._delivery.cut_off(record, ending, call_ids)))
            self._runner.stop(record, ending)
        return updates

    def _time_is_up(self, record: TaskRecord, turn_id: TurnId) -> None:
        """A turn waits for a task with all its calls or with none."""
        if record.fenced:
            return
        call_ids = tuple([waiter.call_id for waiter in _let_go(record, turn_id)])
        if call_ids:
            update = Detached(record.id, call_ids, record.call.name)
            self._mailbox.tell_turn(record.launch.conversation_id, turn_id, record.id, update)


def _why(record: TaskRecord) -> str:
    """Why the turn is over, as its token was told."""
    told = record.turn_token.reason if record.turn_token is not None else ""
    return told or "the turn was interrupted"


def _let_go(record: TaskRecord, turn_id: TurnId) -> list[Waiter]:
    """The calls of this turn that joined the task; they wait no longer."""
    found = [one for one in record.joined or () if one.turn_id == turn_id and one.waiting]
    for waiter in found:
        waiter.waiting = False
    return found
