"""A live agent in the hands of a command: its events are followed, its end is orderly.

However it ends (its work is done, the user leaves, a signal, a broken pipe), what still runs
is told, the agent is shut down, and every event up to then is shown. Of the agents below it, what
they ask is shown, and what was decided.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping
from contextlib import contextmanager, suppress
from functools import partial

from sidetask.cli.view.render import glance
from sidetask.cli.view.screen import complain
from sidetask.core.errors import AlreadyDecidedError, TaskNotFoundError
from sidetask.core.events import ApprovalRequested, Event, EventKind, Lagged, RunFailed
from sidetask.core.ids import ApprovalId, ConversationId, TaskId
from sidetask.core.jsons import JsonObject
from sidetask.runtime.handle import AgentHandle
from sidetask.runtime.runtime import Runtime
from sidetask.tasks.aio.clock import Clock
from sidetask.tasks.aio.spawn import spawn, wait_done
from sidetask.tasks.values import TaskSnapshot

BY_SIGNAL = 128
"""Added to a signal's number: the exit code of a command that it ended."""

ENDS = tuple(each for each in signal.Signals if each.name in {"SIGTERM", "SIGHUP"})
"""Signals that end a session in order; which there are depends on the system."""

ASKING = (EventKind.APPROVAL_REQUESTED, EventKind.APPROVAL_DECIDED)

See = Callable[[Event | Lagged], None]


class Session:
    """One chat, from its opening to its end."""

    def __init__(
        self,
        chat: AgentHandle,
        runtime: Runtime,
        *,
        driven: bool,
        approve: bool | None,
        clock: Clock,
        kept: bool = False,
    ) -> None:
        """`runtime` is the chat's alone. `kept`: at its end it is let go, with its tasks, to be
        taken up again."""
        self._kept = kept
        self.chat = chat
        self._runtime = runtime
        self._names: dict[ConversationId, str] = {}
        """Of the agents below that have asked something."""
        self.now = clock.now
        self.driven = driven
        """The user takes the model's seat."""
        self._approve = approve
        """What is answered to every question; None: a person is asked."""
        self._left: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.failed = False
        """A turn has failed."""

    def leave(self, code: int = 0) -> None:
        """End the session. The first one to say so decides the exit code."""
        if not self._left.done():
            self._left.set_result(code)

    def leaver(self, number: signal.Signals) -> Callable[[], None]:
        """What a signal does that ends the session."""
        return lambda: self.leave(BY_SIGNAL + number)

    async def run(
        self,
        work: Coroutine[object, object, int],
        *,
        see: See,
        see_below: See,
        leaving: Callable[[list[TaskSnapshot]], None],
        timeout: float | None = None,
    ) -> int:
        """Do the work, then shut the agent down; returns the exit code.

        `see` is given every event, `see_below` the questions of the agents below it and what was
        decided of them, and `leaving` what is still at work at the end. The exit code is 1 after
        `timeout` seconds.
        """
        events = self.chat.events()  # before the first event can be
        below = self._runtime.on(ASKING, partial(self._hear_below, see_below))
        follower = spawn(self._follow(events, see), name="events")
        main = spawn(work, name="work")
        try:
            first = {follower, main, self._left}
            done, _ = await asyncio.wait(first, timeout=timeout, return_when="FIRST_COMPLETED")
            if not done:
                complain(f"not done within {timeout:g} s")
                self.leave(1)
        finally:
            leaving(self.chat.tasks.running())
            main.cancel()
            await wait_done(main)
            await (self.chat.disconnect() if self._kept else self.chat.shutdown())
            await wait_done(follower)
            below.abort()
        follower.result()
        return self._left.result() if self._left.done() else main.result()

    def decide(self) -> bool:
        """Answer the open questions, if nobody is to be asked; says whether there were any."""
        if self._approve is None:
            return False
        questions = list(self.chat.approvals)
        for asked in questions:
            with suppress(AlreadyDecidedError):
                if self._approve:
                    self.chat.approvals.approve(asked.id, by="--yes")
                else:
                    self.chat.approvals.deny(asked.id, "there is nobody to ask", by="sidetask")
                    what = f"{asked.call.name} {glance(asked.call)}"
                    complain(f"denied, as there is nobody to ask (--yes approves): {what}")
        return bool(questions)

    def details(self, approval_id: ApprovalId) -> JsonObject:
        """What a tool that asks in its body tells besides its arguments."""
        for asked in self.chat.approvals:
            if asked.id == approval_id:
                return asked.metadata
        return {}

    def asker(self, conversation_id: ConversationId) -> str:
        """Who asks, if that is an agent below the one that is talked to."""
        return self._names.get(conversation_id, "")

    def asked(self) -> dict[TaskId, ApprovalId]:
        """The open questions, by the task of this conversation that waits for each."""
        return {self._task_above(each.task_id): each.id for each in self.chat.approvals}

    def _task_above(self, task_id: TaskId) -> TaskId:
        with suppress(TaskNotFoundError):
            task = self._runtime.tasks.get(task_id)
            if task.conversation_id != self.chat.conversation_id and task.parent_id is not None:
                return self._task_above(task.parent_id)
        return task_id

    def _hear_below(self, see: See, event: Event) -> None:
        if event.conversation_id == self.chat.conversation_id:
            return  # it is among the chat's own events
        if isinstance(event, ApprovalRequested):
            for each in self._runtime.live_agents:
                if each.conversation_id == event.conversation_id:
                    self._names[event.conversation_id] = each.config.name
        if event.conversation_id in self._names:
            see(event)
        if isinstance(event, ApprovalRequested):
            self.decide()

    async def _follow(self, events: AsyncIterator[Event | Lagged], see: See) -> None:
        async for event in events:
            see(event)
            self.failed = self.failed or isinstance(event, RunFailed)
            if isinstance(event, ApprovalRequested | Lagged):
                self.decide()


@contextmanager
def signals(handlers: Mapping[signal.Signals, Callable[[], None]]) -> Generator[None]:
    """Call these on the event loop when the signals come, until the block is left.

    A signal that whoever started us wants ignored, as `nohup` does, stays so.
    """
    loop = asyncio.get_running_loop()
    taken: list[signal.Signals] = []
    for number, handler in handlers.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            continue
        with suppress(NotImplementedError):  # Windows: asyncio's own Ctrl-C has to do
            loop.add_signal_handler(number, handler)
            taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
