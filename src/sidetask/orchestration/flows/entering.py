"""What is invoked when a step begins: agents and resolvers, waited for or not."""

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial

from sidetask.agents.governor import Seat
from sidetask.core.budget import ambient_meter
from sidetask.core.ids import ConversationId
from sidetask.core.jsons import Json
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.routing import TaskPolicy, background
from sidetask.orchestration.base import Mode
from sidetask.orchestration.calling import call
from sidetask.orchestration.dispatcher import BackgroundAgentDispatcher
from sidetask.orchestration.flows.plan import OnEnter, Step
from sidetask.orchestration.guards.base import Guard
from sidetask.orchestration.invoker import Invoker, Launching, Run, inside
from sidetask.orchestration.resolvers.resolver import Resolver
from sidetask.state.provenance import Origin
from sidetask.state.results import settled, start_result, status_key
from sidetask.state.state import State
from sidetask.tasks.aio.spawn import spawn
from sidetask.tasks.parts.body import current_body

CAP = 8
"""Runs of a flow in one conversation that are dispatched and run at once."""

_log = logging.getLogger(__name__)


class Host:
    """The conversation, as the invocations of its flow see it."""

    __slots__ = ("_seat", "invoker")

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self.invoker = Invoker.of(seat.manager)

    @property
    def conversation_id(self) -> ConversationId:
        return self._seat.conversation_id

    @property
    def state(self) -> State:
        return self._seat.state


class Entrance:
    """Invokes what steps begin with."""

    __slots__ = ("_context", "_dispatcher", "_holds", "_parent", "_seat")

    def __init__(self, seat: Seat, holds: Callable[[Guard], bool]) -> None:
        self._seat = seat
        self._holds = holds
        self._dispatcher: BackgroundAgentDispatcher | None = None
        # A step may begin through a write of a tool: what it invokes is no child of that tool's
        # task, and ends with nobody but itself. A guest's is a child of the run that the guest is
        # part of: that one waits for it, and may hold the only permit.
        self._parent = inside() if seat.is_guest else None
        self._context: Context = copy_context()
        self._context.run(current_body.set, self._parent)
        self._context.run(ambient_meter.set, seat.meter)

    def enter(self, step: Step, *, again: bool) -> asyncio.Task[None]:
        """Invoke what this step begins with, one after the other; the task ends when all of it
        is started, and what is waited for has ended. `again`: only what has not ended yet."""
        work = self._invoke_all(step, again=again)
        return self._context.copy().run(partial(spawn, work, name=f"entering the step {step.name}"))

    async def close(self) -> None:
        """Stop what was dispatched."""
        if self._dispatcher is not None:
            await self._dispatcher.close(cancel=True)

    async def _invoke_all(self, step: Step, *, again: bool) -> None:
        for entry in step.on_enter:
            if not (again and settled(self._seat.state, entry.name)) and self._holds(entry.when):
                await self._invoke(entry)

    async def _invoke(self, entry: OnEnter) -> None:
        """Whatever goes wrong is in the state: guards look there."""
        state, key = self._seat.state, status_key(entry.name)
        version = state.version(key)
        try:
            await self._start(entry, entry.input(state) if callable(entry.input) else entry.input)
        except Exception as error:  # noqa: BLE001 - the one boundary: an agent's fault is its own
            if state.version(key) != version:
                return  # it ended so, and has told it
            _log.exception("%s was not invoked", entry.name)
            origin = Origin(source="host", resolver=entry.name)
            start_result(state, entry.name, origin=origin).settle(TaskStatus.FAILED, error=error)

    async def _start(self, entry: OnEnter, given: Json) -> None:
        agent, state, host = entry.agent, self._seat.state, Host(self._seat)
        match entry.mode:
            case Mode.CALL if isinstance(agent, Resolver):
                await agent(state, tasks=host)
            case Mode.CALL:
                await call(entry.name, agent, state, input=given, tasks=host)
            case Mode.DISPATCH if isinstance(agent, Resolver):
                agent.dispatch(state, self._dispatching(host))
            case Mode.DISPATCH:
                self._dispatching(host).dispatch(entry.name, agent, state, input=given)
            case _:
                run = Run(entry.name, host.invoker.find(agent), state, input=given)
                host.invoker.start(run, self._background(entry))

    def _background(self, entry: OnEnter) -> Launching:
        return Launching(
            route=background(),
            policy=TaskPolicy(on_complete=entry.on_complete),
            conversation_id=self._seat.conversation_id,
            parent=self._parent,
        )

    def _dispatching(self, host: Host) -> BackgroundAgentDispatcher:
        if self._dispatcher is None:
            cap = min(CAP, self._seat.manager.limits.conversation)
            self._dispatcher = BackgroundAgentDispatcher(
                cap, conversation=host, parent=self._parent
            )
        return self._dispatcher
