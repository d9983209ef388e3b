"""What the runtime offers of this: runs by request, events by handler, and a conversation's log."""

from collections.abc import Callable

from sidetask.core.errors import AgentNotStartedError
from sidetask.core.events import Event
from sidetask.core.ids import ConversationId, RunId
from sidetask.runtime.invocation.emitting import Builder, Emitter, Host
from sidetask.runtime.invocation.kinds import Kinds, Wanted
from sidetask.runtime.invocation.listeners import (
    CONCURRENT,
    Handler,
    ListenerHandle,
    Order,
    finish,
)
from sidetask.runtime.invocation.requests import EmitRequest
from sidetask.runtime.invocation.runs import RunHandle
from sidetask.runtime.listening import EventTail
from sidetask.stores.base import Store

PATIENCE = 5.0
"""Seconds that the handlers get at the end, for what they have not heard yet."""


class Invoking:
    """The part of a runtime that begins runs by request, and tells events to handlers."""

    def __init__(self, host: Host, store: Store) -> None:
        self._host = host
        self._facts = store
        self._emitter = Emitter(host)
        self._listeners: dict[ListenerHandle, None] = {}
        self._is_silent = False

    def emit(self, request: EmitRequest | Builder) -> RunHandle:
        """Begin a run: its id is known at once, and nothing is waited for.

        It takes its turn in its conversation, the one that is open under that id or one that is
        opened for it. A conversation that is named stays open until the runtime is closed; a
        fresh one is closed when nothing of it runs any more. `request` may be an async function
        `(context, control) -> EmitRequest`. What goes wrong after this call, an unknown model
        too, is the run's one end and is raised to whoever awaits it.

        Raises:
            InvalidInputError: The input is empty, the conversation is another agent's, or it is
                not open and nobody is named who would answer.
            AgentNotStartedError: The runtime is closed.
        """
        return self._emitter.emit(request)

    def on(  # noqa: PLR0913 - each is one choice of the host
        self,
        kind: Kinds,
        handler: Handler,
        *,
        run: str | None = None,
        conversation: str | None = None,
        order: Order = "sequential",
        timeout: float | None = None,
        concurrency_limit: int = CONCURRENT,
    ) -> ListenerHandle:
        """Call `handler(event, context, control)` for each event of a kind, or of several, from
        now on; it may take fewer of these, and may be async.

        `run` and `conversation` narrow it; the listener of one conversation ends with it, any
        other with the runtime. `timeout` is seconds for one event.

        Raises:
            ConfigurationError: No such kind or order, a limit below 1, or no such handler.
            AgentNotStartedError: The runtime is closed.
        """
        if self._is_silent:
            raise AgentNotStartedError
        outbox = self._host.outbox
        wanted = Wanted(kind, run, conversation)
        handle = ListenerHandle(
            handler,
            wanted,
            outbox,
            self._latest_run,
            order=order,
            timeout=timeout,
            concurrency_limit=concurrency_limit,
        )
        stream = outbox.everything
        if conversation is not None:
            stream = outbox.journal(ConversationId(conversation))
        task = handle.begin(stream.subscribe(wanted.filter()))
        self._listeners[handle] = None
        task.add_done_callback(lambda _: self._listeners.pop(handle, None))
        return handle

    def events(
        self,
        conversation: str,
        *,
        after: int | None = None,
        follow: bool = True,
        wanted: Callable[[Event], bool] | None = None,
    ) -> EventTail:
        """A conversation's events, as `AgentHandle.events` tells them: by its id, open or not.

        Raises:
            AgentNotStartedError: The runtime is closed, and there is nothing to follow.
        """
        if self._is_silent and follow:
            raise AgentNotStartedError
        store, outbox, key = self._facts, self._host.outbox, ConversationId(conversation)
        return EventTail(store, outbox, key, after=after, follow=follow, wanted=wanted)

    async def _end_runs(self) -> None:
        """Begin no run any more, and wait for the end of those that have no turn."""
        await self._emitter.close()

    async def _end_listeners(self) -> None:
        """Let the listeners hear what is left, once their streams have ended."""
        self._is_silent = True
        await finish(tuple(self._listeners), within=PATIENCE)

    def _latest_run(self, conversation_id: ConversationId) -> RunId:
        driver = self._host.find_driver(conversation_id)
        return RunId("") if driver is None else driver.latest_run
