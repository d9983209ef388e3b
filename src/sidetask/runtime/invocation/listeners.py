"""Handlers of events: each has a cursor of its own, and nobody waits for it.

A listener reads its events in order. `sequential` ones are handled one after the other;
`concurrent` ones begin in order, each in an asyncio task of its own, at most
`concurrency_limit` at once. One that is too slow loses events as any reader does: the number is
told by `control.missed`, and the last event of a run or task is kept for it.

A handler's fault is an event and a line in the log, and no more: the next event reaches it. What
goes wrong with a `ListenerFailed` is only logged, so that no two listeners can feed each other.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal, TypeAlias

from sidetask.core.errors import ConfigurationError, InvalidInputError
from sidetask.core.errors.checks import check_count, check_seconds
from sidetask.core.events import Event, Lagged, ListenerFailed
from sidetask.core.ids import ConversationId, RunId
from sidetask.runtime.invocation.control import ConversationContext
from sidetask.runtime.invocation.kinds import Wanted
from sidetask.tasks.aio.outbox import Outbox
from sidetask.tasks.aio.sleepers import Sleepers, sleep_among, wake_all
from sidetask.tasks.aio.spawn import spawn
from sidetask.tasks.aio.streams import Subscription

CONCURRENT = 16
"""Handlers that run at once in a concurrent listener, unless said otherwise."""

_log = logging.getLogger(__name__)


class ListenerControl:
    """What rules a listener, from outside and from inside its handler."""

    __slots__ = ("_changed", "_limit", "_timeout", "is_cancelled", "missed")

    def __init__(
        self, timeout: float | None, concurrency_limit: int, changed: Callable[[], None]
    ) -> None:
        self._changed = changed
        self.is_cancelled = False
        self.missed = 0
        """How many events were lost so far, because the listener was too slow."""
        self.timeout = timeout
        self.concurrency_limit = concurrency_limit

    @property
    def timeout(self) -> float | None:
        """Seconds that an async handler may take for one event; then it is cancelled."""
        return self._timeout

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        if seconds is not None:
            check_seconds("a listener's timeout", seconds)
        self._timeout = seconds

    @property
    def concurrency_limit(self) -> int:
        """How many handlers may run at once, where the order is `concurrent`."""
        return self._limit

    @concurrency_limit.setter
    def concurrency_limit(self, limit: int) -> None:
        check_count("a listener's concurrency_limit", limit)
        self._limit = limit
        self._changed()

    def cancel(self) -> None:
        """Take no more events. Handlers that run are left to finish; with none, it ends now."""
        self.is_cancelled = True
        self._changed()


Order: TypeAlias = Literal["sequential", "concurrent"]
Handled: TypeAlias = Awaitable[object] | object
Handler: TypeAlias = (
    Callable[[Event], Handled]
    | Callable[[Event, ConversationContext], Handled]
    | Callable[[Event, ConversationContext, ListenerControl], Handled]
)
"""Takes the event, and if it likes its context and control. It may be async."""


class ListenerHandle:
    """A handler that listens, until it is cancelled or what it listens to ends."""

    def __init__(  # noqa: PLR0913 - each is one choice of the host
        self,
        handler: Handler,
        wanted: Wanted,
        outbox: Outbox,
        latest_run: Callable[[ConversationId], RunId],
        *,
        order: Order,
        timeout: float | None,
        concurrency_limit: int,
    ) -> None:
        if order not in ("sequential", "concurrent"):
            raise ConfigurationError(f"order is 'sequential' or 'concurrent', not {order!r}")
        self._changes: Sleepers = []
        self._events: Subscription | None = None
        self.control = ListenerControl(timeout, concurrency_limit, self._look_again)
        self.name = getattr(handler, "__qualname__", None) or type(handler).__name__
        self._handler: Callable[..., Handled] = handler
        self._takes = _takes(handler, self.name)
        self._wanted = wanted
        self._outbox = outbox
        self._latest_run = latest_run
        self._concurrent = order == "concurrent"
        self._context = ConversationContext(conversation_id=ConversationId(""), run_id=RunId(""))
        self._task: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._handling = False

    @property
    def is_finished(self) -> bool:
        """It takes no more events, and no handler runs."""
        if self._task is None or self._task.done():
            return not self._running
        return self.control.is_cancelled and not (self._handling or self._running)

    def abort(self) -> None:
        """End now: handlers that run are cancelled."""
        self.control.cancel()
        for task in self._working():
            task.cancel("the listener was aborted")

    async def drain(self) -> None:
        """Wait until everything that was told before this call is handled.

        Raises:
            InvalidInputError: It was called from the handler, which would wait for itself.
        """
        if asyncio.current_task() in self._working():
            raise InvalidInputError("a handler cannot drain its own listener")
        events = self._events
        end = events.end if events is not None else 0
        while not self._is_past(end):
            await sleep_among(self._changes)

    # -- for the runtime -------------------------------------------------------------------

    def begin(self, events: Subscription) -> "asyncio.Task[None]":
        """Listen from now on."""
        self._events = events
        self._task = task = spawn(self._listen(events), name=f"listener {self.name}")
        task.add_done_callback(self._ended)
        return task

    def ending(self) -> "asyncio.Task[None] | None":
        """What ends when it has handled what is there. None, and it takes no more events, if it
        is its own handler that asks, which would wait for itself."""
        if asyncio.current_task() in self._working():
            self.control.cancel()
            return None
        return self._task

    async def _listen(self, events: Subscription) -> None:
        control = self.control
        try:
            while not control.is_cancelled:
                event = events.ready()
                if event is None:
                    if events.is_over:
                        break
                    if self._changes:
                        self._look_again()
                    await events.more()
                elif isinstance(event, Lagged):
                    control.missed += event.missed
                    _log.warning(
                        "listener %s was too slow: %d events lost", self.name, event.missed
                    )
                elif self._wanted.as_they_are:
                    await self._take(event)
                else:
                    for shape in self._wanted.shapes(event):
                        await self._take(shape)
            while self._running:
                await asyncio.wait(self._running)
        finally:
            events.close()

    async def _take(self, event: Event) -> None:
        if not self._concurrent:
            self._handling = True
            try:
                await self._handle(event)
            finally:
                self._handling = False
            return
        while len(self._running) >= self.control.concurrency_limit:
            if self.control.is_cancelled:
                return
            await sleep_among(self._changes)
        task = spawn(self._handle(event), name=f"{self.name} {event.id}")
        self._running.add(task)
        task.add_done_callback(self._handled)

    async def _handle(self, event: Event) -> None:
        try:
            timeout = self.control.timeout
            if timeout is None:
                given = self._call(event)
                if given is not None and inspect.isawaitable(given):
                    await given
            else:
                async with asyncio.timeout(timeout):
                    given = self._call(event)
                    if given is not None and inspect.isawaitable(given):
                        await given
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._report(event, error)  # something that the handler awaited was cancelled
        except Exception as error:  # noqa: BLE001 - the one boundary: a handler of the host's
            self._report(event, error)

    def _call(self, event: Event) -> Handled:
        if self._takes == 1:
            return self._handler(event)
        context = self._context
        if (
            event.run_id != context.run_id
            or event.conversation_id != context.conversation_id
            or event.turn_id != context.turn_id
            or event.parent_id != context.parent_id
        ):
            context = self._context = ConversationContext(
                conversation_id=event.conversation_id,
                run_id=event.run_id or self._latest_run(event.conversation_id),
                turn_id=event.turn_id,
                parent_id=event.parent_id,
            )
        if self._takes == 2:
            return self._handler(event, context)
        return self._handler(event, context, self.control)

    def _report(self, event: Event, error: BaseException) -> None:
        timeout = self.control.timeout
        late = isinstance(error, TimeoutError) and timeout is not None
        why = str(error) or (f"not done within {timeout:g} s" if late else type(error).__name__)
        _log.error("listener %s failed at %s: %s", self.name, event.id, why, exc_info=error)
        journal = self._outbox.find(event.conversation_id)
        if journal is None or isinstance(event, ListenerFailed):
            return
        journal.live(
            event,
            ListenerFailed,
            listener=self.name,
            event_id=event.id,
            error=why,
            error_type=type(error).__name__,
        )

    # -- small steps -------------------------------------------------------------------------

    def _working(self) -> "set[asyncio.Task[None]]":
        return self._running if self._task is None else {self._task, *self._running}

    def _is_past(self, end: int) -> bool:
        events = self._events
        if events is None or self.is_finished:
            return True
        return events.is_past(end) and not self._handling and not self._running

    def _look_again(self) -> None:
        wake_all(self._changes)
        if self._events is not None and self.control.is_cancelled:
            self._events.close()

    def _handled(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        wake_all(self._changes)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if self._events is not None:  # cancelled before its first step: it ran none of its code
            self._events.close()
        wake_all(self._changes)


async def finish(listeners: Iterable[ListenerHandle], *, within: float) -> None:
    """Let them all handle what is there, and abort those that take longer than `within` seconds."""
    ending = {task: each for each in listeners if (task := each.ending()) is not None}
    if not ending:
        return
    _, late = await asyncio.wait(ending, timeout=within)
    for task in late:
        ending[task].abort()
    if late:
        await asyncio.wait(late, timeout=within)


def _takes(handler: Callable[..., object], name: str) -> int:
    """How many of event, context and control a handler takes."""
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):  # some builtins do not tell
        return 1
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [each for each in parameters if each.kind in places and each.default is each.empty]
    any_number = any(each.kind is each.VAR_POSITIONAL for each in parameters)
    if len(needed) > 3 or not (needed or any_number):
        raise ConfigurationError(
            f"{name} cannot be a handler: it takes (event[, context[, control]])"
        )
    return len(needed) or 1
