"""What the runtime offers of this: runs by request, events by handler, and a conversation's log."""

import asyncio
from collections.abc import AsyncIterator

from sidetask.core.errors import AgentNotStartedError
from sidetask.core.events import Event, Lagged
from sidetask.core.ids import ConversationId, RunId
from sidetask.runtime.invocation.emitting import Builder, Emitter, Host
from sidetask.runtime.invocation.kinds import Kinds, Wanted
from sidetask.runtime.invocation.listeners import CONCURRENT, Handler, ListenerHandle, Order
from sidetask.runtime.invocation.requests import EmitRequest
from sidetask.runtime.invocation.runs import RunHandle
from sidetask.runtime.listening import EventTail
from sidetask.stores.base import Store

PATIENCE = 5.0
"""Seconds that the handlers get at the end, for what they have not heard yet."""


class Invocations:
    """One runtime's runs and listeners."""

    def __init__(self, host: Host, store: Store) -> None:
        self._host = host
        self._store = store
        self._emitter = Emitter(host)
        self._listeners: dict[ListenerHandle, None] = {}
        self._closed = False

    def emit(self, request: EmitRequest | Builder) -> RunHandle:
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
        if self._closed:
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
            stream = outbox.journal(ConversationId(conversation)).listen()
        task = handle.begin(stream.subscribe(wanted.filter()))
        self._listeners[handle] = None

        def ended(_: "asyncio.Task[None]") -> None:
            self._listeners.pop(handle, None)

        task.add_done_callback(ended)
        return handle

    def events(
        self, conversation: str, *, after: int | None, follow: bool
    ) -> AsyncIterator[Event | Lagged]:
        if self._closed and follow:
            raise AgentNotStartedError
        conversation_id = ConversationId(conversation)
        return EventTail(
            self._store, self._host.outbox, conversation_id, after=after, follow=follow
        )

    async def end_runs(self) -> None:
        """Begin no run any more, and wait for the end of those that have no turn."""
        await self._emitter.close()

    async def end_listeners(self) -> None:
        """Let the listeners hear what is left, once their streams have ended."""
        self._closed = True
        for handle in tuple(self._listeners):
            await handle.finish(PATIENCE)

    def _latest_run(self, conversation_id: ConversationId) -> RunId:
        driver = self._host.find_driver(conversation_id)
        return RunId("") if driver is None else driver.latest_run
