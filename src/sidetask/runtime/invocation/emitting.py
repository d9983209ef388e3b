"""Carrying requests out: who answers, in which conversation, and what was asked for before.

A request for a conversation that is open needs nothing of its own: its turn is queued at once.
Any other run has one asyncio task, which builds the request, opens the conversation, and closes
it if it was opened for this run alone. Whatever goes wrong on the way, the run ends with one
event, and nothing is left open.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from os import urandom
from typing import TypeAlias

from sidetask.agents.agent import AgentConfig
from sidetask.agents.conversation import Conversation
from sidetask.core.errors import (
    AgentNotStartedError,
    ConfigurationError,
    InvalidInputError,
    TurnCancelledError,
)
from sidetask.core.events import Event
from sidetask.core.ids import ConversationId, RunId, value
from sidetask.core.messages import user_message
from sidetask.core.turns import RunOrder
from sidetask.runtime.driver import Driver
from sidetask.runtime.foreign import ForeignAgent
from sidetask.runtime.handle import AgentHandle
from sidetask.runtime.invocation.control import Control, ConversationContext
from sidetask.runtime.invocation.requests import EmitRequest
from sidetask.runtime.invocation.runs import RunHandle, RunResponse
from sidetask.tasks.aio.outbox import Of, Outbox
from sidetask.tasks.aio.scope import Cuttable
from sidetask.tasks.aio.spawn import spawn, wait_done

KEPT = 1000
"""Runs with a `client_request_id` that are remembered, the last ones."""

Builder: TypeAlias = Callable[[ConversationContext, Control], Awaitable[EmitRequest] | EmitRequest]
"""Makes a request when the run is about to begin."""
_Key: TypeAlias = tuple[str | None, str | None, str]

_log = logging.getLogger(__name__)


AnyAgent: TypeAlias = AgentConfig | ForeignAgent | str


@value(kw_only=True)
class Host:
    """What runs need of the runtime."""

    outbox: Outbox
    find_driver: Callable[[ConversationId], Driver | None]
    """Who runs the turns of a conversation that is open."""
    new_id: Callable[[], ConversationId]
    start: Callable[[AnyAgent, str | None, ConversationId], Awaitable[AgentHandle]]
    """Open a conversation: with whom, of which user, by which id."""
    forget: Callable[[ConversationId], Awaitable[None]]
    """Drop what was kept of a fresh conversation that was never opened."""


class Emitter:
    """Carries requests out, for one runtime."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._first: dict[_Key, RunHandle] = {}
        self._beginning: dict[RunHandle, None] = {}
        self._openings: dict[ConversationId, asyncio.Task[AgentHandle]] = {}
        self._kept: dict[ConversationId, AgentHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def emit(self, given: EmitRequest | Builder) -> RunHandle:
        """Begin a run, or find the first one of the same `client_request_id`.

        Raises:
            InvalidInputError: The input is empty, the conversation is another agent's, or it is
                not open and nobody is named who would answer.
            AgentNotStartedError: The runtime is closed.
        """
        if self._closed:
            raise AgentNotStartedError
        if not isinstance(given, EmitRequest):
            if not callable(given):
                raise ConfigurationError("emit takes an EmitRequest, or a function that makes one")
            run = self._new_run(self._host.new_id())
            return self._spawn(run, self._carry_out(run, given))
        first = self._first_of(given)
        if first is not None:
            return first
        conversation_id, driver = self._place(given)
        run = self._new_run(conversation_id or self._host.new_id())
        if driver is None:
            self._accept(run, given)
            return self._spawn(run, self._carry_out(run, given))
        message = user_message(given.input)
        self._accept(run, given)
        run.settled.set()
        run.enter(driver, message)
        return run

    async def close(self) -> None:
        """Begin nothing any more, and wait until what was begun has ended: the conversations
        are closed by the runtime."""
        self._closed = True
        for run in tuple(self._beginning):
            run.cancel("the runtime was closed")
        for opening in self._openings.values():
            opening.cancel()
        for task in (*self._openings.values(), *self._tasks):
            await wait_done(task)
        self._kept.clear()
        self._first.clear()

    # -- before it begins --------------------------------------------------------------------

    def _new_run(self, conversation_id: ConversationId) -> RunHandle:
        order = RunOrder(run_id=RunId(f"run:{urandom(16).hex()}"))
        return RunHandle(order, conversation_id, self._tell)

    def _first_of(self, request: EmitRequest) -> RunHandle | None:
        key = _key(request)
        return None if key is None else self._first.get(key)

    def _place(self, request: EmitRequest) -> tuple[ConversationId | None, Driver | None]:
        """Where it runs, and who runs it if that is open; nothing is opened yet."""
        user_message(request.input)
        if request.conversation_id is None:
            if request.who is None:
                raise InvalidInputError("nobody is asked: name an agent, or a model")
            return None, None
        conversation_id = ConversationId(request.conversation_id)
        if conversation_id in self._openings:  # it may have a driver, and not be ready
            return conversation_id, None
        driver = self._host.find_driver(conversation_id)
        if driver is None and request.who is None:
            raise InvalidInputError(f"{conversation_id} is not open: name the agent that answers")
        if driver is not None:
            _check_same(request, driver.conversation)
        return conversation_id, driver

    def _accept(self, run: RunHandle, request: EmitRequest) -> None:
        order = RunOrder(
            run_id=run.run_id,
            client_request_id=request.client_request_id,
            metadata=request.metadata,
            settings=request.settings,
            budget=request.budget,
        )
        key = _key(request)
        if key is not None:
            self._first[key] = run
            if len(self._first) > KEPT:
                del self._first[next(iter(self._first))]
        run.build(order, ConversationId(request.conversation_id or run.conversation_id))

    def _spawn(self, run: RunHandle, work: Coroutine[object, object, None]) -> RunHandle:
        self._beginning[run] = None
        task = spawn(work, name=f"emit {run.run_id}")
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if run in self._beginning:  # cancelled before its first step: it ran nothing
                del self._beginning[run]
                run.end(TurnCancelledError("cancelled from outside"))

        task.add_done_callback(done)
        return run

    # -- a run with work of its own ------------------------------------------------------------

    async def _carry_out(self, run: RunHandle, given: EmitRequest | Builder) -> None:
        own: AgentHandle | None = None
        reserved = run.conversation_id
        try:
            own = await self._begin(run, given)
        except asyncio.CancelledError:
            run.end(TurnCancelledError("cancelled from outside"))
            raise
        except Exception as error:  # noqa: BLE001 - the one boundary: a run's fault is its end
            run.end(error)
        finally:
            self._beginning.pop(run, None)
        if own is not None:
            await self._see_off(run, own)
        elif not (isinstance(given, EmitRequest) and given.conversation_id):
            await self._host.forget(reserved)

    async def _begin(self, run: RunHandle, given: EmitRequest | Builder) -> AgentHandle | None:
        """Queue the run's turn; returns the conversation if it was opened for this run alone."""
        async with Cuttable(run.token, None):
            request = given if isinstance(given, EmitRequest) else await self._built(run, given)
            return None if request is None else await self._enter(run, request)
        _check_cancelled(run)
        raise InvalidInputError("something that the run's begin awaited was cancelled")

    async def _built(self, run: RunHandle, builder: Builder) -> EmitRequest | None:
        """The request; None if it was asked for before, and the run is that one now."""
        context = ConversationContext(conversation_id=run.conversation_id, run_id=run.run_id)
        made = builder(context, Control(run.cancel))
        request = _checked(await made if isawaitable(made) else made)
        _check_cancelled(run)
        first = self._first_of(request)
        if first is not None:
            run.stand_for(first)
            return None
        self._place(request)
        self._accept(run, request)
        return request

    async def _enter(self, run: RunHandle, request: EmitRequest) -> AgentHandle | None:
        message = user_message(request.input)
        _check_cancelled(run)
        agent, own = request.who, None
        if request.conversation_id is None:
            assert agent is not None
            own = await self._host.start(agent, request.user, run.conversation_id)
        else:
            await self._open(run.conversation_id, agent, request.user)
            run.settled.set()
        driver = self._host.find_driver(run.conversation_id)
        if driver is None:
            raise AgentNotStartedError
        _check_same(request, driver.conversation)
        run.enter(driver, message)
        return own

    async def _open(
        self, conversation_id: ConversationId, agent: AnyAgent | None, user: str | None
    ) -> None:
        """Have a conversation open, and keep it so. Several runs at once open it once; one of
        them that gives up takes it from nobody."""
        while True:
            opening = self._openings.get(conversation_id)
            if opening is None:
                if self._host.find_driver(conversation_id) is not None:
                    return
                assert agent is not None
                opening = spawn(
                    self._start(agent, user, conversation_id), name=f"open {conversation_id}"
                )
                self._openings[conversation_id] = opening
                opening.add_done_callback(partial(self._opened, conversation_id))
            handle = self._kept[conversation_id] = await asyncio.shield(opening)
            handle.kept = True

    async def _start(
        self, agent: AnyAgent, user: str | None, conversation_id: ConversationId
    ) -> AgentHandle:
        return await self._host.start(agent, user, conversation_id)

    def _opened(
        self, conversation_id: ConversationId, opening: "asyncio.Task[AgentHandle]"
    ) -> None:
        self._openings.pop(conversation_id, None)
        if not opening.cancelled():
            opening.exception()  # whoever waited for it is told; perhaps nobody does any more

    async def _see_off(self, run: RunHandle, own: AgentHandle) -> None:
        """Close a conversation that was opened for one run, when nothing of it runs any more."""
        try:
            await run.ended()
            if not own.is_idle:
                run.settled.set()
                with suppress(AgentNotStartedError):  # closed meanwhile by somebody else
                    await own.wait_for_idle()
            await own.shutdown()
        except Exception:  # noqa: BLE001 - the one boundary: nobody else would hear of it
            _log.exception("closing %s, which was opened for one run", own.conversation_id)
        finally:
            run.settled.set()

    def _tell(self, response: RunResponse, made: type[Event], fields: dict[str, object]) -> None:
        """Tell an event of a run whose turn never began."""
        assert response.order is not None
        journal = self._host.outbox.journal(response.conversation_id)
        untap = journal.tap(response.append)
        try:
            journal.fact(Of(run_id=response.order.run_id), made, **fields)
        except Exception:  # noqa: BLE001 - the one boundary: it ends, whatever the store says
            _log.exception("the end of %s could not be stored", response.order.run_id)
        finally:
            untap()


def _key(request: EmitRequest) -> _Key | None:
    """What a repeated request is known by: never somebody else's."""
    if request.client_request_id is None:
        return None
    return request.user, request.conversation_id, request.client_request_id


def _checked(request: object) -> EmitRequest:
    if not isinstance(request, EmitRequest):
        raise ConfigurationError(f"a builder returns an EmitRequest, not {request!r}")
    return request


def _check_cancelled(run: RunHandle) -> None:
    if run.token.is_cancelled:
        raise TurnCancelledError(run.token.reason)


def _check_same(request: EmitRequest, conversation: Conversation) -> None:
    """A conversation belongs to one agent."""
    wanted, config = request.agent, conversation.config
    model = request.model_name
    if isinstance(wanted, AgentConfig):
        fits = wanted == config
    else:
        fits = getattr(wanted, "name", wanted) in (None, config.name)
    if not fits or model not in (None, config.model):
        asked = getattr(wanted, "name", wanted) or model
        raise InvalidInputError(
            f"{conversation.id} is a conversation with {config.name!r}, not with {asked!r}: "
            "name no agent, or use another conversation"
        )
