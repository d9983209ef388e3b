"""Who speaks next: one turn at a time in a conversation, whoever asks for it.

Input that waits comes first, then results that ask to continue; when there is neither, the
conversation is idle and nothing of it runs. Whether there is, is looked at again after each
turn and in the same tick in which the driver would stop, so no result is left lying.

Who waits for an answer carries its turn out, where none goes on and nothing waits before it: a
turn needs no asyncio task beside the one that would only sleep meanwhile. All others run in a task
of the driver's. Whoever carries it out, it is the same turn.

A user's Stop parks the turns that nobody asked for until the user speaks again. At most
`max_auto_turns` of them follow each other.

Where a store takes nothing, who waits for an answer gets the error. What nobody waits for, results
and what was said by `send`, waits until it takes again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from sidetask.agents.conversation import Conversation
from sidetask.agents.turn.log import Surroundings
from sidetask.core.errors import (
    AgentNotStartedError,
    ConversationBusyError,
    ConversationTakenError,
    InvalidInputError,
    StoreUnavailableError,
)
from sidetask.core.events import ContinueRequested, Event, RunStarted, TaskEvent
from sidetask.core.ids import RunId
from sidetask.core.messages import AssistantMessage, UserMessage
from sidetask.observe.base import Observer
from sidetask.runtime.driving.current import Current
from sidetask.runtime.driving.inbox import Inbox, cancelled, taken
from sidetask.runtime.driving.waking import Waking
from sidetask.runtime.keeping.absence import store_is_back
from sidetask.runtime.response import ChatResponse, Reply
from sidetask.tasks.aio.sleepers import NOBODY, sleep_among, wake_all
from sidetask.tasks.aio.spawn import current_task, spawn
from sidetask.tasks.manager import AsyncTaskManager
from sidetask.tasks.parts.body import current_body

KEPT = 16
"""Turns that `turns()` can still tell of when they have ended: the last ones."""

PATIENCE = 10.0
"""Seconds that a turn may take to end when the conversation is closed: more than its cleanup."""

GIVEN_UP = "whoever asked was cancelled"
_log = logging.getLogger(__name__)


class Driver:
    """Runs the turns of one conversation."""

    def __init__(
        self,
        conversation: Conversation,
        manager: AsyncTaskManager,
        around: Surroundings,
        max_auto_turns: int,
        observer: Observer | None,
    ) -> None:
        self.conversation = self._conversation = conversation
        self._manager = manager
        self._around = around
        self._tasks = manager.handle()
        self._inbox = Inbox(conversation.id, observer)
        self.waking = Waking(conversation, manager, max_auto_turns)
        self._current: Current | None = None
        self._task: asyncio.Task[Any] | None = None
        """What carries the turn out, or is about to: the driver's own, or that of who asked."""
        self._is_cut = False
        """The turn was ended by force."""
        self._sleepers = NOBODY
        self.latest_run = RunId("")
        """The run that goes on, or was the last; empty before the first."""
        self._is_held = False
        self._store_is_away = False
        """The last turn failed for want of a store, which takes nothing yet."""
        self._goes_on: tuple[Callable[[], None], ...] = ()
        """Who is to be told when a turn has begun that answers all there is."""
        self.closed = False
        self.is_taken = False
        """Another process has the conversation."""
        self.turns: list[ChatResponse] = []
        """The last turns that were admitted."""
        self.admitted = 0
        """How many turns were admitted."""
        self.woken = 0
        """How many of them nobody had asked for."""
        self.unsaid: tuple[UserMessage, ...] = ()
        """What came too late for the last turn, when it was closed."""
        self.signals = 0
        """How often whoever waits for it to be idle was released."""
        around.outbox.journal(conversation.id).tap(self._hear)

    # -- asking --------------------------------------------------------------------------

    @property
    def driven(self) -> bool:
        """A turn runs, or is about to."""
        return self._task is not None

    @property
    def busy(self) -> bool:
        """A turn runs, or is about to, or none may."""
        return self._task is not None or self._is_held

    @property
    def has_reason(self) -> bool:
        """Results ask for a turn of their own."""
        return bool(self.waking.wanted_by())

    @property
    def is_idle(self) -> bool:
        """No turn runs or is about to, and no task is queued or running."""
        return not self.busy and not self._manager.is_busy(self._conversation.id)

    def check_open(self) -> None:
        """Refuse to go on after the end.

        Raises:
            AgentNotStartedError: It was closed.
            ConversationTakenError: Another process has the conversation.
        """
        if self.is_taken:
            raise ConversationTakenError(self._conversation.id)
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
        self._inbox.put(message, response)
        if response.cause == "user":
            self.waking.user_spoke()
        self.kick()
        return response

    async def answer(self, message: UserMessage, response: ChatResponse) -> Reply:
        """As `ask`, and wait for the answer. A cancellation ends the turn, or what waits for it.

        Raises:
            TurnError: The turn failed, or was cancelled.
        """
        waits = self._inbox.waiting or self._conversation.steering
        is_next = self._task is None and not (
            waits or self._is_held or self.closed or self._store_is_away
        )
        self._inbox.put(message, response)
        self.waking.user_spoke()
        try:
            if is_next:
                await self._lead()
            else:
                self.kick()
            return await response
        except asyncio.CancelledError:
            self.withdraw(response, GIVEN_UP)
            raise

    def send(self, message: UserMessage) -> None:
        """Let a message join the running turn at its next safe point, or begin a turn."""
        if self._current is None and not self._store_is_away:
            self.ask(message, ChatResponse("user", sent=True))
        else:
            self._conversation.steering += (message,)
            self.waking.user_spoke()
            self.kick()

    def go_on(self, begun: Callable[[], None]) -> None:
        """Begin a turn for what an earlier process has left without an answer. `begun` is called
        in the tick in which that is on its way to the store; at once if there is nothing."""
        if self._current is not None or not _is_unanswered(self._conversation):
            begun()
            return
        self._goes_on += (begun,)
        self.kick()

    def withdraw(self, response: ChatResponse, reason: str) -> None:
        """Whoever asked for this turn wants it no more."""
        if self._current is not None and self._current.response is response:
            self._current.stop(reason)
        if self._inbox.withdraw(response, reason):
            self.wake()

    # -- stopping ------------------------------------------------------------------------

    async def stop_turn(self, reason: str) -> None:
        """End the turn that runs or is about to, and wait until it has; its background lives."""
        while self._current is None and self._task is not None:
            if self._store_is_away and not self._inbox.waiting:
                return  # none begins before the store is back
            await self.changed()
        current = self._current
        if current is not None:
            current.stop(reason)
            while self._current is current and not _is_inside(self._task):
                await self.changed()

    def end(self, reason: str, *, is_taken: bool = False) -> None:
        """Begin no turn any more, and ask the one that runs to end. `is_taken`: another process
        has the conversation, and whoever waits for a turn here is told so."""
        self.closed, self.is_taken = True, self.is_taken or is_taken
        self._inbox.refuse(reason, is_taken=self.is_taken)
        if self._current is not None:
            self._current.token.cancel(reason)
        self.wake()

    async def close(self) -> None:
        """End the running turn, refuse those that wait, and stop."""
        self.end("shut down")
        if self._task is not None and not await _ended(self, within=PATIENCE):
            self._is_cut = True  # a hook of the host's hangs
            self._task.cancel()
            if not await _ended(self, within=PATIENCE):
                _log.warning("a turn of %s does not stop", self._conversation.id)
        self.unsaid += self._conversation.steering
        self._conversation.steering = ()
        journal = self._around.outbox.find(self._conversation.id)
        if journal is not None:
            journal.untap(self._hear)
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
        self._sleepers = self._sleepers or []
        # Whose conversation another process has taken is told of no end by an event.
        if self._manager.is_busy(self._conversation.id):
            quiet = self._manager.quiet_sleepers(self._conversation.id)
            await sleep_among(self._sleepers, quiet)
        else:
            await sleep_among(self._sleepers)

    # -- running -------------------------------------------------------------------------

    def kick(self) -> None:
        """Begin a turn if there is a reason to, and none runs."""
        if self._task is None and not self._is_held and not self.closed and self._has_work:
            name = f"turns of {self._conversation.id}"
            self._task = spawn(self._drive(), name=name, done=self._driven)

    @property
    def _has_work(self) -> bool:
        said = self._inbox.waiting or self._conversation.steering or self._goes_on
        return bool(said) or self.waking.is_due()

    async def _lead(self) -> None:
        """Carry the next turn out in the asyncio task of who asked for it. If there is another
        one afterwards, it gets a task of its own."""
        task = self._task = current_task()
        before, body = task.cancelling(), current_body.get()
        if body is not None:
            current_body.set(None)  # a turn is no task's child, whoever asked for it
        try:
            await asyncio.sleep(0)  # others first: whoever says something, or Stop, in this tick
            if self._inbox.waiting:
                await self._run(self._next(), if_cancelled=GIVEN_UP)
        except asyncio.CancelledError:
            if not self._is_cut or task.uncancel() > before:
                raise
        else:
            if self._is_cut and task.cancelling() > before:  # a hook swallowed it, or came sooner
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
                task.uncancel()
        finally:
            if body is not None:
                current_body.set(body)
            self._task = None
            self.kick()
            self.wake()

    async def _drive(self) -> None:
        if current_body.get() is not None:
            current_body.set(None)  # a turn is no task's child, whoever asked for it
        try:
            while not self.closed and self._has_work:
                if self._store_is_away:  # a turn that somebody waits for begins, and fails
                    self._store_is_away = not await store_is_back(
                        self._around.outbox.stored,
                        lambda: self.closed or bool(self._inbox.waiting),
                    )
                    if self.closed or not self._has_work:
                        return
                await self._run(self._next())
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
            self._inbox.refuse("cancelled from outside")
            self.wake()

    def _next(self) -> ChatResponse:
        """The turn to run, which there is."""
        conversation = self._conversation
        is_hurried = self._store_is_away and self._inbox.waiting
        if conversation.steering and not is_hurried:  # too late for the turn it was meant for
            late = ChatResponse("user", sent=True)
            late.message, *rest = conversation.steering
            conversation.steering = tuple(rest)
            return late
        if self._inbox.waiting:
            return self._inbox.take()
        return ChatResponse("tasks", self.waking.begin())

    async def _run(self, response: ChatResponse, *, if_cancelled: str = "shut down") -> None:
        conversation = self._conversation
        conversation.turns += 1
        conversation.unheard = ()
        conversation.state.clear_turn()
        current = Current(self._around, conversation, response, if_cancelled)
        self._current = current
        self.latest_run = current.run_id
        heard = response.admit(current.turn_id) or bool(self._sleepers)
        self.turns.append(response)
        self.admitted += 1
        if response.cause != "user":
            self.woken += 1
        if len(self.turns) > KEPT:
            del self.turns[0]
        self.wake()
        try:
            await current.carry_out(heard)
        finally:
            self._current = None
            end = current.end or cancelled("cancelled from outside")
            if self.is_taken and end.status != "completed":
                end = taken(conversation.id)
            response.finish(end, tuple(self._tasks.list_running(conversation.id)))
            self._store_is_away = isinstance(end.error, StoreUnavailableError)
            if self._store_is_away:
                if response.cause == "tasks":
                    self.waking.take_back()
                self._inbox.put_off(conversation, response)
            self.wake()

    # -- hearing -------------------------------------------------------------------------

    def _hear(self, event: Event) -> None:
        """Every event of the conversation, as it lands."""
        current = self._current
        if current is not None and event.run_id == current.run_id:
            if current.keeps_end:
                current.hear(event)
            else:
                current.response.append(event)
            if self._goes_on and isinstance(event, RunStarted):
                goes_on, self._goes_on = self._goes_on, ()
                for begun in goes_on:
                    begun()
        elif isinstance(event, ContinueRequested):  # of no run: it is about the conversation
            if current is not None and event.interrupt:
                current.cut_reply()
            self.kick()
            self.wake()
        if self._sleepers and isinstance(event, TaskEvent) and not event.live:
            wake_all(self._sleepers)

    def wake(self) -> None:
        """Let those who wait for a change look again."""
        if self._sleepers:
            wake_all(self._sleepers)


def _is_unanswered(conversation: Conversation) -> bool:
    last = conversation.history[-1] if conversation.history else None
    return last is not None and not (isinstance(last, AssistantMessage) and not last.calls)


def _is_inside(task: asyncio.Task[None] | None) -> bool:
    """The code that asks is what the running turn waits for: a hook's."""
    return task is not None and asyncio.current_task() is task


async def _ended(driver: Driver, *, within: float) -> bool:
    """Wait until no turn runs, nor is about to; False if that takes longer."""
    try:
        async with asyncio.timeout(within):
            while driver.driven:
                await driver.changed()
    except TimeoutError:
        return False
    return True
