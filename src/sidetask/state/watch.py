"""Hearing of changes: read them one by one, act on them at once, or wait for one.

* A `Watch` is a bounded queue of its own. Nobody is waited for: when it is full the oldest
  change makes room, and the next one read says how many were `missed`.
* An action of `when` runs in the write itself, after the lock is free, in the thread where it was
  declared: a write from another thread is handed to that thread's loop at once. It is an ordinary
  function. Work that takes time has an owner elsewhere: dispatch it, or read a `Watch`.
* A sleeper is woken from any thread. A wake-up is a hint: who wakes looks again.
"""

import asyncio
import inspect
import logging
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from threading import RLock, get_ident
from typing import Protocol, Self, TypeAlias

from sidetask.core.errors import ConfigurationError
from sidetask.core.errors.checks import check_callable
from sidetask.core.ids import value
from sidetask.core.jsons import Json
from sidetask.state.board import Fired, Listener
from sidetask.state.provenance import Change

BOUND = 1024
"""Changes that a watcher may lag behind before it loses some."""
MAX_DEPTH = 32
"""How often an action may set itself off through its own writes."""

Report: TypeAlias = Callable[[str, Exception], None]
"""Told of what failed, and how."""
Predicate: TypeAlias = Callable[[Change], object]

_log = logging.getLogger("sidetask.state")


class Source(Protocol):
    """Where changes come from."""

    @property
    def lock(self) -> RLock: ...
    def listen(self, wanted: str, listener: Listener) -> None: ...
    def mute(self, wanted: str, listener: Listener) -> None: ...


class _Sleeper:
    """One wait of one coroutine."""

    __slots__ = ("_loop", "_thread", "future")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self.future: asyncio.Future[None] = self._loop.create_future()

    def wake(self) -> None:
        if get_ident() == self._thread:
            self._set()
            return
        with suppress(RuntimeError):  # the loop is closed: nobody sleeps there any more
            self._loop.call_soon_threadsafe(self._set)

    def _set(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class Bell:
    """Wakes whoever sleeps. First `arm`, then look, then sleep: then no wake-up is lost."""

    __slots__ = ("_lock", "_sleepers", "closed")

    def __init__(self, lock: RLock) -> None:
        self._lock = lock
        self._sleepers: list[_Sleeper] = []
        self.closed = False

    def arm(self) -> asyncio.Future[None]:
        """A future that is done after the next ring. For this loop alone."""
        sleeper = _Sleeper()
        with self._lock:
            self._sleepers = [each for each in self._sleepers if not each.future.done()]
            self._sleepers.append(sleeper)
        return sleeper.future

    def ring(self) -> None:
        if not self._sleepers:
            return
        with self._lock:
            sleepers, self._sleepers = self._sleepers, []
        for sleeper in sleepers:
            sleeper.wake()

    def hear(self, change: Change, fired: Fired) -> None:
        self.ring()

    def close(self) -> None:
        self.closed = True
        self.ring()


class _Queue:
    """What a watch has not been read of yet. The state knows this, and not the watch itself."""

    __slots__ = ("bell", "changes", "missed", "size")

    def __init__(self, lock: RLock, size: int) -> None:
        self.bell = Bell(lock)
        self.changes: deque[Change] = deque()
        self.size = size
        self.missed = 0

    def hear(self, change: Change, fired: Fired) -> None:
        if len(self.changes) >= self.size:
            self.changes.popleft()
            self.missed += 1
        self.changes.append(change)
        self.bell.ring()

    def close(self) -> None:
        self.bell.close()


class Watch:
    """Changes from now on, in order. Iterate it; leave it by `close()`, a `with` block, or by
    dropping it. It ends with the state."""

    __slots__ = ("_queue", "_source", "_wanted", "missed")

    def __init__(self, source: Source, wanted: str, size: int = BOUND) -> None:
        self.missed = 0
        """How many changes were lost so far, of those before what was read last."""
        self._source = source
        self._wanted = wanted
        self._queue = _Queue(source.lock, max(size, 1))
        source.listen(wanted, self._queue)

    def ready(self) -> Change | None:
        """The next change, if there is one now."""
        queue = self._queue
        with self._source.lock:
            if not queue.changes:
                return None
            change = queue.changes.popleft()
            missed, queue.missed = queue.missed, 0
        if not missed:
            return change
        self.missed += missed
        return replace(change, missed=missed)

    def close(self) -> None:
        """Stop listening. A reader that waits in another asyncio task ends."""
        self._source.mute(self._wanted, self._queue)
        self._queue.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        while True:
            change = self.ready()
            if change is not None:
                return change
            rung = self._queue.bell.arm()
            if self._queue.bell.closed:
                raise StopAsyncIteration
            if not self._queue.changes:
                await rung

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self._source.mute(self._wanted, self._queue)


class When:
    """A declared action. It acts until it is cancelled, or the state is closed."""

    __slots__ = ("_action", "_depth", "_home", "_predicate", "_report", "_source", "wanted")

    def __init__(
        self,
        source: Source,
        predicate: Predicate,
        action: Callable[[Change], object],
        report: Report,
    ) -> None:
        check_ordinary("the predicate of an action", predicate)
        if inspect.iscoroutinefunction(action):
            raise ConfigurationError(
                "an action is an ordinary function, as nobody would own a coroutine: let it "
                "dispatch the work, or read `async for change in state.watch(...)`"
            )
        check_callable("an action", action)
        self.wanted = predicate.wanted if isinstance(predicate, Condition) else ""
        self._predicate = predicate
        self._action = action
        self._report = report
        self._home = _home()
        self._depth = 0
        self._source = source
        source.listen(self.wanted, self)

    def hear(self, change: Change, fired: Fired) -> None:
        try:
            holds = self._predicate(change)
            if holds:
                no_coroutine("it", holds)
                fired.append((self, change))
        except Exception as error:  # noqa: BLE001 - the one boundary: a predicate of the host's
            self._report(f"the predicate of an action, at {change.key!r}", error)

    def fire(self, change: Change) -> None:
        """Act, in the thread where the action belongs."""
        home = self._home
        if home is None or home[1] == get_ident():
            self._act(change)
            return
        try:
            home[0].call_soon_threadsafe(self._act, change)
        except RuntimeError as error:
            self._report(f"an action on {change.key!r}, whose loop is closed", error)

    def _act(self, change: Change) -> None:
        what = f"an action on {change.key!r}"
        if self._depth >= MAX_DEPTH:
            self._report(what, RecursionError(f"it set itself off {MAX_DEPTH} times"))
            return
        self._depth += 1
        try:
            no_coroutine("an action", self._action(change))
        except Exception as error:  # noqa: BLE001 - the one boundary: an action of the host's
            self._report(what, error)
        finally:
            self._depth -= 1

    def cancel(self) -> None:
        """Act no more. Twice is fine."""
        self._source.mute(self.wanted, self)

    def close(self) -> None:
        """The state is closed."""


def _home() -> tuple[AbstractEventLoop, int] | None:
    """The loop that runs here, and its thread; None outside of loops."""
    try:
        return asyncio.get_running_loop(), get_ident()
    except RuntimeError:
        return None


def no_coroutine(what: str, result: object) -> None:
    """Refuse what a function returned that was to be an ordinary one."""
    if inspect.iscoroutine(result):
        result.close()
        raise ConfigurationError(f"{what} returned a coroutine, which nobody would own")


def check_ordinary(what: str, fn: object) -> None:
    """See that it is a function whose result is there at once.

    Raises:
        ConfigurationError: It is none.
    """
    if not callable(fn) or inspect.iscoroutinefunction(fn):
        raise ConfigurationError(f"{what} is an ordinary function, not {fn!r:.80}")


def reporter(hook: Report | None) -> Report:
    """Tells the log of what failed, and the host's hook if there is one."""
    if hook is None:
        return _report

    def report(what: str, error: Exception) -> None:
        _report(what, error)
        try:
            hook(what, error)
        except Exception:  # noqa: BLE001 - the one boundary: a hook of the host's
            _log.exception("the on_error hook failed")

    return report


def _report(what: str, error: Exception) -> None:
    _log.error("%s failed: %r", what, error, exc_info=error)


# -- predicates ----------------------------------------------------------------------------


@value
class Condition:
    """A predicate that says which keys it looks at, so that writes of others cost nothing."""

    wanted: str
    test: Predicate

    def __call__(self, change: Change) -> object:
        return self.test(change)


def changed(key_or_prefix: str = "") -> Condition:
    """The value is another one than before: also the first, and also none any more."""
    return Condition(key_or_prefix, lambda change: change.deleted or not _same(change))


def became_true(key: str) -> Condition:
    """The value is true, or not empty and not 0, and was not before."""
    return Condition(key, lambda change: bool(change.new) and not change.old)


def crossed_above(key: str, limit: float) -> Condition:
    """The number is above the limit, and was not before; none before counts as not above."""

    def test(change: Change) -> bool:
        return _is_above(change.new, limit) and not _is_above(change.old, limit)

    return Condition(key, test)


def crossed_below(key: str, limit: float) -> Condition:
    """The number is below the limit, and was not before; none before counts as not below."""

    def test(change: Change) -> bool:
        return _is_above(_negated(change.new), -limit) and not _is_above(
            _negated(change.old), -limit
        )

    return Condition(key, test)


def _same(change: Change) -> bool:
    return not change.created and same(change.old, change.new)


def same(old: object, new: object) -> bool:
    """Equal as JSON, where 1 is neither 1.0 nor true."""
    return type(old) is type(new) and old == new


def _is_above(value: Json, limit: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > limit


def _negated(value: Json) -> Json:
    return -value if isinstance(value, int | float) and not isinstance(value, bool) else None
