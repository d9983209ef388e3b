"""Who speaks next: one turn at a time in a conversation, whoever asks for it.

Input that waits comes first, then results that ask to continue; when there is neither, the
conversation is idle and nothing of it runs. Whether there is, is looked at again after each
turn and in the same tick in which the driver would stop, so no result is left lying.

A user's Stop parks the turns that nobody asked for until the user speaks again. At most
`max_auto_turns` of them follow each other.

Where a store takes nothing, who waits for an answer gets the error. What nobody waits for, results
and what was said by `send`, waits until it takes again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sidetask.agents.conversation import Conversation
from sidetask.agents.loop import TurnEnd, TurnRun
from sidetask.agents.turn_log import Surroundings
from sidetask.core.errors import (
    AgentNotStartedError,
    ConversationBusyError,
    InvalidInputError,
    StoreError,
    TurnCancelledError,
)
from sidetask.core.events import (
    ContinueRequested,
    Event,
    RunCancelled,
    RunCompleted,
    RunFailed,
    TaskEvent,
)
from sidetask.core.ids import RunId, TurnId
from sidetask.core.messages import UserMessage
from sidetask.observe.base import Observer
from sidetask.runtime.keeping.absence import Absence, is_among
from sidetask.runtime.response import ChatResponse
from sidetask.tasks.aio.sleepers import Sleepers, sleep_among, wake_all
from sidetask.tasks.aio.spawn import spawn, stop, wait_done
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.tasks.manager import AsyncTaskManager
from sidetask.tasks.parts.body import current_body

KEPT = 16
"""Turns that `turns()` can still tell of when they have ended: the last ones."""

PATIENCE = 10.0
"""Seconds that a turn may take to end when the conversation is closed: more than its cleanup."""

_ENDS = (RunCompleted, RunFailed, RunCancelled)
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Waiting:
    """Input that waits for its turn."""

    message: UserMessage
    response: ChatResponse
    asked: object = None
    """What the observer remembers of who asked."""


@dataclass(slots=True)
class Current:
    """The turn that runs."""

    run: TurnRun
    run_id: RunId
    token: CancelToken
    response: ChatResponse
    end: Event | None = None
    """Of the run, where it is told when it is on the disk."""


class Driver:
    """Runs the turns of one conversation."""

    def __init__(
        self,
        conversation: Conversation,
        manager: AsyncTaskManager,
        around: Surroundings,
        *,
        max_auto_turns: int,
        observer: Observer | None = None,
    ) -> None:
        self._conversation = conversation
        self._observer = observer
        self._manager = manager
        self._around = around
        self._durable = around.store.durable
        self._max_auto_turns = max_auto_turns
        self._inbox: list[Waiting] = []
        self._current: Current | None = None
        self._task: asyncio.Task[None] | None = None
        self._parked = False
        self._auto_turns = 0
        self._sleepers: Sleepers = []
        self._latest_run = RunId("")
        self._is_held = False
        self._absence = Absence(around.outbox.stored)
        self.closed = False
        self.turns: list[ChatResponse] = []
        """The last turns that were admitted."""
        self.admitted = 0
        """How many turns were admitted."""
        self.woken = 0
        """How many of them nobody had asked for."""
        self.unsaid: list[UserMessage] = []
        """What came too late for the last turn, when it was closed."""
        self.signals = 0
        """How often whoever waits for it to be idle was released."""
        around.outbox.journal(conversation.id).listen().tap(self._hear)

    # -- asking --------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """A turn runs, or is about to."""
        return self._task is not None or self._is_held

    @property
    def has_reason(self) -> bool:
        """Results ask for a turn of their own."""
        return bool(self._manager.wants_turn(self._conversation.id))

    @property
    def is_idle(self) -> bool:
        """No turn runs or is about to, and no task is queued or running."""
        return not self.busy and not self._manager.is_busy(self._conversation.id)

    def check_open(self) -> None:
        """Refuse to go on after the end.

        Raises:
            AgentNotStartedError: It was closed.
        """
        if self.closed:
            raise AgentNotStartedError

    def check_outside(self) -> None:
        """Refuse to wait for a turn in the code that the running one waits for: a hook's.

        Raises:
            InvalidInputError: It is that code which asks.
        """
        if _is_inside(self._task):
            raise InvalidInputError(
                "a hook cannot wait for a turn of its own conversation, which waits for the hook:"
                " use send()"
            )

    def ask(self, message: UserMessage, response: ChatResponse | None = None) -> ChatResponse:
        """Queue a turn of its own for a message."""
        response = response or ChatResponse("user")
        asked = None if self._observer is None else self._observer.asked()
        self._inbox.append(Waiting(message, response, asked))
        if response.cause == "user":
            self._user_spoke()
        else:
            self.kick()
        return response

    def send(self, message: UserMessage) -> None:
        """Let a message join the running turn at its next safe point, or begin a turn."""
        if self._current is None and not self._absence.lasts:
            self.ask(message, ChatResponse("user", sent=True))
        else:
            self._conversation.steering.append(message)
            self._user_spoke()

    def withdraw(self, response: ChatResponse, reason: str) -> None:
        """Whoever asked for this turn wants it no more."""
        if self._current is not None and self._current.response is response:
            self._current.token.cancel(reason)
        waiting = [each for each in self._inbox if each.response is not response]
        if len(waiting) < len(self._inbox):
            self._inbox = waiting
            response.finish(_cancelled(reason))
            self.wake()

    @property
    def conversation(self) -> Conversation:
        return self._conversation

    @property
    def latest_run(self) -> RunId:
        """The run that goes on, or was the last; empty before the first."""
        return self._latest_run

    # -- stopping ------------------------------------------------------------------------

    def park(self) -> None:
        """Begin no turn that nobody asked for until the user speaks."""
        self._parked = True

    async def stop_turn(self, reason: str) -> None:
        """End the turn that runs or is about to, and wait until it has; its background lives."""
        while self._current is None and self._task is not None:
            await self.changed()
        current = self._current
        if current is not None:
            current.token.cancel(reason)
            while self._current is current and not _is_inside(self._task):
                await self.changed()

    async def close(self) -> None:
        """End the running turn, refuse those that wait, and stop."""
        self.closed = True
        _refuse(self._inbox, "shut down")
        if self._current is not None:
            self._current.token.cancel("shut down")
        if self._task is not None and not await wait_done(self._task, within=PATIENCE):
            await stop([self._task], within=PATIENCE)  # a hook of the host's hangs
        steering = self._conversation.steering
        self.unsaid += steering
        steering.clear()
        journal = self._around.outbox.find(self._conversation.id)
        if journal is not None:
            journal.listen().untap(self._hear)
        self.wake()

    async def alone(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something beside which no turn may run. Those that are asked for meanwhile wait.

        Raises:
            ConversationBusyError: A turn runs, or is about to; nothing was done.
        """
        if self.busy:
            raise ConversationBusyError(self._conversation.id)
        self._is_held = True
        try:
            await work()
        finally:
            self._is_held = False
            self.kick()
            self.wake()

    async def changed(self) -> None:
        """Wait until a turn was admitted or has ended, or a task may have."""
        await sleep_among(self._sleepers)

    # -- running -------------------------------------------------------------------------

    def _user_spoke(self) -> None:
        self._parked = False
        self._auto_turns = 0
        self.kick()

    def kick(self) -> None:
        """Begin a turn if there is a reason to, and none runs."""
        if not self.busy and not self.closed and self._has_work:
            name = f"turns of {self._conversation.id}"
            self._task = spawn(self._drive(), name=name, done=self._driven)

    @property
    def _has_work(self) -> bool:
        return bool(self._inbox or self._conversation.steering) or self._wakes()

    def _wakes(self) -> bool:
        """Whether results begin a turn by themselves."""
        if self._parked or not self._manager.wants_turn(self._conversation.id):
            return False
        if self._auto_turns >= self._max_auto_turns:
            _log.warning(
                "%s had %d turns in a row that nobody asked for: further results wait for the"
                " user (max_auto_turns)",
                self._conversation.id,
                self._auto_turns,
            )
            self._parked = True
        return not self._parked

    async def _drive(self) -> None:
        if current_body.get() is not None:
            current_body.set(None)  # a turn is no task's child, whoever asked for it
        try:
            while not self.closed and self._has_work:
                if self._absence.lasts:  # a turn that somebody waits for begins, and fails
                    await self._absence.wait_over(lambda: self.closed or bool(self._inbox))
                    if self.closed or not self._has_work:
                        return
                await self._run(*self._next())
                if not self._has_work:
                    return
                await asyncio.sleep(0)  # who waited for this turn hears of its end first
        finally:  # in the same tick as the last look, so that nothing falls in between
            self._task = None
            self.wake()

    def _driven(self, task: asyncio.Task[None]) -> None:
        if self._task is task:  # cancelled before its first step: it ran none of its code
            self._task = None
        if task.cancelled():  # from outside: the program is ending, and nobody would begin them
            _refuse(self._inbox, "cancelled from outside")
            self.wake()

    def _next(self) -> tuple[UserMessage | None, ChatResponse]:
        """The turn to run, which there is."""
        conversation = self._conversation
        is_hurried = self._absence.lasts and self._inbox
        if conversation.steering and not is_hurried:  # too late for the turn it was meant for
            return conversation.steering.pop(0), ChatResponse("user", sent=True)
        if self._inbox:
            waiting = self._inbox.pop(0)
            if self._observer is not None:
                self._observer.admitted(conversation.id, waiting.asked)
            return waiting.message, waiting.response
        self._auto_turns += 1
        return None, ChatResponse("tasks", self._manager.wants_turn(conversation.id))

    async def _run(self, message: UserMessage | None, response: ChatResponse) -> None:
        conversation = self._conversation
        conversation.turns += 1
        conversation.state.clear_turn()
        turn_id = TurnId(f"turn-{conversation.turns}")
        token = CancelToken()
        run = TurnRun(
            self._around, conversation, turn_id, token, response.order, budget=response.budget
        )
        self._latest_run = run.run_id
        self._current = current = Current(run, run.run_id, token, response)
        heard = self._admit(response, turn_id)
        end: TurnEnd | None = None
        try:
            end = await _carried_out(run, conversation, message, response, heard=heard)
            if self._durable:
                await self._around.outbox.stored()  # what is told of it is on the disk
        except StoreError as error:
            _log.exception("the end of %s of %s", turn_id, conversation.id)
            end = TurnEnd("failed", error=error)
            run.end = end
        finally:
            if current.end is not None:
                response.append(current.end)
            self._current = None
            running = self._manager.handle().list_running(conversation.id)
            end = run.end or end or _cancelled("cancelled from outside")
            response.finish(end, tuple(running))
            self._absence.note(end.error)
            if self._absence.lasts:
                self._auto_turns = max(0, self._auto_turns - (response.cause == "tasks"))
                said = message if response.sent else None
                self._inbox = _put_off(conversation, self._inbox, said)
            self.wake()

    def _admit(self, response: ChatResponse, turn_id: TurnId) -> bool:
        """The turn begins; False if nobody waits for that."""
        heard = response.admit(turn_id) or bool(self._sleepers)
        self.turns.append(response)
        self.admitted += 1
        if response.cause != "user":
            self.woken += 1
        if len(self.turns) > KEPT:
            del self.turns[0]
        self.wake()
        return heard

    # -- hearing -------------------------------------------------------------------------

    def _hear(self, event: Event) -> None:
        """Every event of the conversation, as it lands."""
        current = self._current
        if current is not None and event.run_id == current.run_id:
            if self._durable and isinstance(event, _ENDS):
                current.end = event
            else:
                current.response.append(event)
        if isinstance(event, ContinueRequested):
            if current is not None and event.interrupt:
                current.run.cut_reply()
            self.kick()
        if self._sleepers and isinstance(event, TaskEvent | ContinueRequested) and not event.live:
            wake_all(self._sleepers)

    def wake(self) -> None:
        """Let those who wait for a change look again."""
        wake_all(self._sleepers)


def _put_off(
    conversation: Conversation, inbox: list[Waiting], said: UserMessage | None
) -> list[Waiting]:
    """What nobody waits for is still to be said. Returns the inbox of those who wait."""
    steering = conversation.steering
    if said is not None and not is_among(said, conversation.history):
        steering.insert(0, said)
    steering += [each.message for each in inbox if each.response.sent]
    return [each for each in inbox if not each.response.sent]


def _is_inside(task: asyncio.Task[None] | None) -> bool:
    """The code that asks is what the running turn waits for: a hook's."""
    return task is not None and asyncio.current_task() is task


def _refuse(inbox: list[Waiting], reason: str) -> None:
    """None of these gets a turn."""
    refused = inbox[:]
    inbox.clear()
    for each in refused:
        each.response.finish(_cancelled(reason))


def _cancelled(reason: str) -> TurnEnd:
    return TurnEnd("cancelled", error=TurnCancelledError(reason))


async def _carried_out(
    run: TurnRun,
    conversation: Conversation,
    message: UserMessage | None,
    response: ChatResponse,
    *,
    heard: bool,
) -> TurnEnd:
    """Run a turn to its end, and tell the host's hooks."""
    try:
        end = await run.run(message, cause=response.cause, task_ids=response.task_ids, heard=heard)
    except Exception as error:  # noqa: BLE001 - the one boundary: its end could not be stored
        _log.exception("%s of %s", run.run_id, conversation.id)
        end = run.end or TurnEnd("failed", error=error)
    if conversation.hooks is not None:
        await conversation.hooks.turn_ended(end.status, end.text)
    return end
