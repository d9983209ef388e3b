"""A database whose process dies at a chosen write, and an event loop without the store's thread.

What the thread would do is done in the loop, at once or after a virtual moment: so a life has the
same writes each time, and each of them can be the last. A dead process runs no line more: `Killed`
leaves the loop at once, as no code of ours catches it. Its transaction is undone, unless it was
committed and nobody had heard of it yet.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, TypeVarTuple

from sidetask.core.errors import StoreUnavailableError
from sidetask.stores.sql.driver import Connection, Driver, Row
from sidetask.stores.sql.store import SqlStore
from sidetask.stores.sql.thread import Written
from sidetask.testing.clock import VirtualLoop

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Side = Literal["before", "after"]


class Killed(KeyboardInterrupt):
    """The process is killed. Of what is raised in a loop, only this sort leaves it."""


@dataclass
class Fate:
    """When a process dies: beside its commit number `at`, from 1. None: not by a commit."""

    at: int | None = None
    side: Side = "before"
    fails: int | None = None
    """The commit that fails, once: the disk is full for a moment."""
    commits: int = 0
    dead: bool = False

    def die(self) -> None:
        self.dead = True
        raise Killed


class Loop(VirtualLoop):
    """A virtual loop in which a store's work is done by itself."""

    unanswered: "asyncio.Future[Any] | None" = None
    """Of the write that was the last."""

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        if not isinstance(executor, Hand):
            return super().run_in_executor(executor, func, *args)
        answer: asyncio.Future[T] = self.create_future()

        def work() -> None:
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001 - the one boundary: its asker raises it
                _set(answer, error=error)
            except Killed:
                self.unanswered = answer
                raise
            else:
                _set(answer, result)

        # Never in the caller's own frames: `Killed` would unwind them.
        if executor.latency:
            self.call_at(executor.next_end(self.time()), work)
        else:
            self.call_soon(work)
        return answer

    def bury(self) -> None:
        """Whoever waits for the last write waits no more."""
        if self.unanswered is not None:
            _set(self.unanswered, Written(StoreUnavailableError("its process is dead", "bury it")))


def _set(answer: "asyncio.Future[T]", result: Any = None, error: Exception | None = None) -> None:
    if answer.cancelled():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result)


class Hand(Executor):
    """What stands for a store's thread."""

    def __init__(self, latency: float) -> None:
        self.latency = latency
        """Virtual seconds that each job takes: what goes on meanwhile makes the next batch."""
        self._end = 0.0

    def next_end(self, now: float) -> float:
        self._end = max(now, self._end) + self.latency
        return self._end

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """There is no thread to end."""


def open_disk(driver: Driver, fate: Fate, latency: float) -> SqlStore:
    """A store of a process with this fate. The driver is this process's own."""
    made: Any = driver
    connect = driver.open
    made.open = lambda: MortalConnection(connect(), fate)
    store = SqlStore(driver)
    line: Any = store._line  # pyright: ignore[reportPrivateUsage]
    line._worker = Hand(latency)
    return store


class MortalConnection:
    """Another connection, which counts the transactions that write, and dies beside one of them."""

    def __init__(self, inner: Connection, fate: Fate) -> None:
        self._inner = inner
        self._fate = fate
        self._writes = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._living, name)

    def run(self, sql: str, values: Sequence[object] = ()) -> int:
        self._writes = self._writes or "SAVEPOINT" not in sql
        return self._living.run(sql, values)

    def run_each(self, sql: str, rows: Sequence[Row]) -> None:
        self._writes = self._writes or bool(rows)
        self._living.run_each(sql, rows)

    def begin(self) -> None:
        self._writes = False
        self._living.begin()

    def commit(self) -> None:
        fate, inner = self._fate, self._living
        fate.commits += self._writes
        if self._writes and fate.commits == fate.fails:
            raise StoreUnavailableError("the disk is full", "make room")
        last = self._writes and fate.commits == fate.at
        if last and fate.side == "before":
            self._end()
        inner.commit()
        if last:
            self._end()

    def rollback(self) -> None:
        if not self._fate.dead:
            self._inner.rollback()

    def close(self) -> None:
        self._inner.close()

    @property
    def _living(self) -> Connection:
        if self._fate.dead:
            raise StoreUnavailableError("its process is dead", "bury it")
        return self._inner

    def _end(self) -> None:
        self._inner.rollback()
        self._inner.close()
        self._fate.die()
