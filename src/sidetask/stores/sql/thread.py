"""The thread that has the connection: what touches the database is done there, in order.

A transaction takes a batch of writes, and of questions, each under a savepoint of its own. What
the database refuses for what a row is, is found by writing the batch again, row by row.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Container, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from operator import itemgetter
from queue import SimpleQueue
from typing import Any, Generic, ParamSpec, TypeAlias, TypeVar, cast

from sidetask.core.errors import (
    ConfigurationError,
    ConversationTakenError,
    InvalidInputError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
)
from sidetask.stores.sql.driver import Connection, Driver, Passing, Refused, Row, Taken
from sidetask.stores.sql.schema import migrate

P = ParamSpec("P")
T = TypeVar("T")

Write: TypeAlias = Callable[[Connection, Sequence[Row]], None]
"""Writes rows of one sort; twice does no harm."""

_TRIES = 10
"""How often a batch is written at once, when the database says that this may help. Of two that
deadlock the same one may be chosen again: one time in a hundred, measured."""

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Question(Generic[T]):
    """Something to be done in a transaction, with an answer."""

    ask: Callable[[Connection], T] | None
    """None: nothing; only to know when all before it is written."""
    conversation_id: str | None
    answered: asyncio.Future[None]
    answer: T | None = None
    error: Exception | None = None


Item: TypeAlias = "tuple[Write | None, str | None, Row | Question[Any]]"
"""What writes a row, the conversation or another topic that it is of, and the row; or None, and a
question. None for a topic: nobody is told, unless the question itself tells."""


@dataclass(slots=True)
class Written:
    """What became of a batch."""

    failure: StoreError | None = None
    refused: dict[str, StoreRefusedError] = field(default_factory=dict[str, StoreRefusedError])


class Writer:
    """Carries batches and questions out. All of it is called in the one thread."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._connection: Connection | None = None

    def _connected(self) -> Connection:
        if self._connection is None:
            connection = self._driver.open()
            try:
                migrate(self._driver, connection)
            except BaseException:  # the one boundary: no connection is left open
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def answer(self, question: Callable[[Connection], T]) -> T:
        try:
            return question(self._connected())
        except Exception as error:  # the one boundary: a library's errors become ours
            failure = _told(self._translated(error))
            if failure is error:
                raise
            raise failure from error

    def _translated(self, error: Exception) -> Exception:
        """An error of the library as one of ours; any other as it is."""
        if self._driver.is_broken(error):
            self.disconnect()
        return self._driver.translate(error) or error

    def write(self, batch: Sequence[Item]) -> Written:
        """Write a batch: all of it, or what the database does not refuse, or nothing."""
        way, failure = self._write_whole, None
        for _ in range(_TRIES):
            try:
                return way(batch)
            except Exception as error:  # noqa: BLE001 - the one boundary: they become ours
                failure = self._translated(error)
            if isinstance(failure, Refused):
                way = self._write_singly
            elif not isinstance(failure, Passing):
                break
        if isinstance(failure, ConfigurationError):  # it came with a connection that was lost
            failure = StoreUnavailableError(str(failure), "until then it is tried again")
        elif isinstance(failure, Passing):
            failure = StoreUnavailableError(
                f"others write the same: {failure}", "wait: it is tried again"
            )
        elif not isinstance(failure, StoreError):
            failure = StoreUnavailableError(repr(failure), "this is a bug of sidetask: report it")
        return Written(failure)

    def _write_whole(self, batch: Sequence[Item]) -> Written:
        connection = self._connected()
        try:
            connection.begin()
            for write, items in groupby(batch, key=itemgetter(0)):
                if write is not None:
                    write(connection, [cast("Row", row) for _, _, row in items])
                else:
                    for _, _, question in items:
                        self._ask(connection, cast("Question[Any]", question))
            self._commit(connection, batch)
        except BaseException:  # the one boundary: whatever it was, no half of it stays
            connection.rollback()
            raise
        return Written()

    def _write_singly(self, batch: Sequence[Item]) -> Written:
        """Write what the database takes, and find out what it does not."""
        connection, written = self._connected(), Written()
        try:
            connection.begin()
            for write, conversation_id, item in batch:
                if conversation_id in written.refused:
                    if isinstance(item, Question) and item.ask is not None:
                        item.error = anew(written.refused[conversation_id])
                elif write is None:
                    self._ask(connection, cast("Question[Any]", item))
                elif why := self._try(connection, partial(write, connection, [cast("Row", item)])):
                    of = cast("str", conversation_id)
                    written.refused[of] = _refusal(of, why)
            self._commit(connection, batch, written.refused)
        except BaseException:  # the one boundary: whatever it was, no half of it stays
            connection.rollback()
            raise
        return written

    def _commit(
        self, connection: Connection, batch: Sequence[Item], refused: Container[str] = ()
    ) -> None:
        written = {of for _, of, item in batch if not isinstance(item, Question) or item.ask}
        if topics := {of for of in written if of is not None and of not in refused}:
            connection.tell(topics)
        connection.commit()

    def _ask(self, connection: Connection, question: Question[Any]) -> None:
        ask = question.ask
        if ask is None:
            return

        def answer() -> None:
            question.answer = ask(connection)

        error = self._try(connection, answer)
        question.error = None if error is None else _told(error)

    def _try(self, connection: Connection, call: Callable[[], None]) -> Exception | None:
        """Do it under a savepoint. An error that concerns only this is returned."""
        connection.run("SAVEPOINT st_one")
        try:
            call()
        except Exception as error:  # the one boundary: what concerns only this is its answer
            failure = self._driver.translate(error) or error
            if isinstance(failure, StoreUnavailableError | Passing):
                raise
            connection.run("ROLLBACK TO SAVEPOINT st_one")
            connection.run("RELEASE SAVEPOINT st_one")
            return failure
        connection.run("RELEASE SAVEPOINT st_one")
        return None


def _refusal(conversation_id: str, why: Exception) -> StoreRefusedError:
    if isinstance(why, Taken):
        return ConversationTakenError(conversation_id)  # who had it says so
    refused = StoreRefusedError(conversation_id, str(why))
    _log.error("%s", refused)
    return refused


def _told(failure: Exception) -> Exception:
    """What who asked is told: what no row can hold, a NUL in a name for one, is their mistake."""
    if isinstance(failure, Refused):
        return InvalidInputError(f"the database cannot take this: {failure}")
    return failure


def anew(error: StoreError) -> Any:
    """The same error once more: raising one object twice would pile up its tracebacks."""
    return type(error)(*error.args)


class Worker(Executor):
    """A daemon thread of one's own, started with its first job.

    Not `ThreadPoolExecutor`: its threads are joined when the process exits, so a database that
    does not answer would keep a finished program alive.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._started = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        if not self._started:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
            self._started = True
        future: Future[T] = Future()
        self._jobs.put((future, lambda: fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the thread end when its jobs are done; nobody waits for it."""
        if self._started:
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, call = job
            if future.set_running_or_notify_cancel():
                try:
                    result = call()
                except BaseException as error:  # noqa: BLE001 - the one boundary: its asker raises it
                    future.set_exception(error)
                else:
                    future.set_result(result)
            del job, future, call  # an idle thread keeps nothing alive
