"""Who speaks next: one turn at a time in a conversation, whoever asks for it.

Input that waits comes first, then results that ask to continue; when there is neither, the
conversation is idle and nothing of it runs. Whether there is, is looked at again after each
turn and in the same tick in which the driver would stop, so no result is left lying.

A user's Stop parks the turns that nobody asked for until the user speaks again. At most
`max_auto_turns` of them follow each other.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from sidetask.agents.conversation import Conversation
from sidetask.agents.loop import Surroundings, TurnEnd, TurnRun
from sidetask.core.errors import AgentNotStartedError, TurnCancelledError
from sidetask.core.events import ContinueRequested, Event
from sidetask.core.ids import TurnId
from sidetask.core.messages import UserMessage
from sidetask.core.usage import Usage
from sidetask.runtime.response import ChatResponse
from sidetask.tasks.aio.spawn import spawn, wait_done
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.tasks.manager import AsyncTaskManager

KEPT = 16
"""Ended turns that `turns()` can still tell of."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Waiting:
    """Input that waits for its turn."""

    message: UserMessage
    response: ChatResponse


@dataclass(slots=True)
class Current:
    """The turn that runs."""

    run: TurnRun
    token: CancelToken
    response: ChatResponse


class Driver:
    """Runs the turns of one conversation."""

    def __init__(
        self,
        conversation: Conversation,
        manager: AsyncTaskManager,
        around: Surroundings,
        *,
        max_auto_turns: int,
    ) -> None:
        self._conversation = conversation
        self._manager = manager
        self._around = around
        self._max_auto_turns = max_auto_turns
        self._inbox: list[Waiting] = []
        self._current: Current | None = None
        self._task: asyncio.Task[None] | None = None
        self._parked = False
        self._auto_turns = 0
        self.closed = False
        self._watchers: list[asyncio.Future[None]] = []
        self.turns: list[ChatResponse] = []
        """The last turns that were admitted."""
        self.admitted = 0
        """How many turns were admitted."""
        self.seen = 0
        """How many of them somebody was given."""
        stream = around.outbox.journal(conversation.id).listen()
        self._untap: Callable[[], None] = stream.tap(self._hear)

    # -- asking --------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """A turn runs, or is about to."""
        return self._task is not None

    @property
    def is_idle(self) -> bool:
        """No turn runs or is about to, and no task is queued or running."""
        return not self.busy and not self._manager.is_busy(self._conversation.id)

    def ask(self, message: UserMessage) -> ChatResponse:
        """Queue a turn of its own for a message."""
        response = ChatResponse("user")
        self._inbox.append(Waiting(message, response))
        self._user_spoke()
        return response

    def send(self, message: UserMessage) -> None:
        """Let a message join the running turn at its next safe point, or begin a turn."""
        if self._current is not None:
            self._conversation.steering.append(message)
            self._parked = False
        else:
            self.ask(message)

    def withdraw(self, response: ChatResponse, reason: str) -> None:
        """Whoever asked for this turn wants it no more."""
        if self._current is not None and self._current.response is response:
            self._current.token.cancel(reason)
            return
        for waiting in self._inbox:
            if waiting.response is response:
                self._inbox.remove(waiting)
                _never_ran(response, reason)
                return

    # -- stopping ------------------------------------------------------------------------

    async def stop_turn(self, reason: str, *, park: bool) -> None:
        """End the running turn and wait until it has; its background lives."""
        if park:
            self._parked = True
        current = self._current
        if current is None:
            return
        current.token.cancel(reason)
        while self._current is current:
            await self.changed()

    async def close(self) -> None:
        """End the running turn, refuse those that wait, and stop."""
        self.closed = True
        waiting, self._inbox = self._inbox, []
        for each in waiting:
            _never_ran(each.response, "shut down")
        self._conversation.steering.clear()
        if self._current is not None:
            self._current.token.cancel("shut down")
        if self._task is not None:
            await wait_done(self._task)
        self._untap()
        self._wake()

    async def changed(self) -> None:
        """Wait until a turn was admitted or has ended, or a task may have."""
        watcher = asyncio.get_running_loop().create_future()
        self._watchers.append(watcher)
        await watcher

    # -- running -------------------------------------------------------------------------

    def _user_spoke(self) -> None:
        self._parked = False
        self._auto_turns = 0
        self._kick()

    def _kick(self) -> None:
        if self._task is None and not self.closed and self._has_work():
            self._task = spawn(self._drive(), name=f"turns of {self._conversation.id}")

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
            return False
        return True

    async def _drive(self) -> None:
        try:
            while not self.closed and self._has_work():
                await self._run_next()
        finally:  # in the same tick as the last look, so that nothing falls in between
            self._task = None
            self._wake()

    async def _run_next(self) -> None:
        conversation = self._conversation
        if self._inbox:
            waiting = self._inbox.pop(0)
            await self._run(waiting.message, waiting.response)
        elif conversation.steering:  # it came too late for the turn that it was meant for
            await self._run(conversation.steering.pop(0), ChatResponse("user"))
        else:
            self._auto_turns += 1
            task_ids = self._manager.wants_turn(conversation.id)
            await self._run(None, ChatResponse("tasks", task_ids))

    async def _run(self, message: UserMessage | None, response: ChatResponse) -> None:
        conversation = self._conversation
        conversation.turns += 1
        turn_id = TurnId(f"turn-{conversation.turns}")
        token = CancelToken()
        run = TurnRun(self._around, conversation, turn_id, token)
        self._current = Current(run, token, response)
        self._admit(response, turn_id)
        end = TurnEnd("cancelled", "", Usage(), 0, error=TurnCancelledError("shut down"))
        try:
            end = await run.run(message, cause=response.cause, task_ids=response.task_ids)
        finally:
            self._current = None
            response.finish(end, tuple(self._manager.handle().list_running(conversation.id)))
            self._wake()

    def _admit(self, response: ChatResponse, turn_id: TurnId) -> None:
        response.admit(turn_id)
        self.turns.append(response)
        self.admitted += 1
        if len(self.turns) > KEPT:
            del self.turns[0]
        self._wake()

    # -- hearing -------------------------------------------------------------------------

    def _hear(self, event: Event) -> None:
        """Every event of the conversation, as it lands."""
        current = self._current
        if current is not None and event.run_id == current.run.run_id:
            current.response.append(event)
        if isinstance(event, ContinueRequested):
            if current is not None and event.interrupt:
                current.run.cut_reply()
            self._kick()
        elif self._watchers and not event.live:
            self._wake()

    def _wake(self) -> None:
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(None)

    def saw(self, response: ChatResponse) -> None:
        """Somebody was given this turn."""
        oldest = self.admitted - len(self.turns)
        for index, turn in enumerate(self.turns):
            if turn is response:
                self.seen = max(self.seen, oldest + index + 1)

    def check_open(self) -> None:
        """Refuse to go on after the end.

        Raises:
            AgentNotStartedError: It was closed.
        """
        if self.closed:
            raise AgentNotStartedError


def _never_ran(response: ChatResponse, reason: str) -> None:
    error = TurnCancelledError(reason)
    response.turn_id = TurnId("")
    response.finish(TurnEnd("cancelled", "", Usage(), 0, error=error))
