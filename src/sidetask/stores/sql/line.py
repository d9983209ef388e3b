"""The line to the database: what was handed over waits here, and one transaction takes it all.

The order of a write:

    hand_over  ->  waiting  ->  a batch, in the thread  ->  committed, and whoever waits is told

* A batch takes everything that waits, and is taken by a callback of the loop: code that hands
  over without an `await` in between is never cut in two. While one batch is being written the
  next one gathers, so a slow disk makes bigger batches and no longer queue.
* A question (`ask`) stands in the line like any write, under a savepoint of its own: when it
  fails, the rest of its batch does not.
* When the database takes nothing, questions fail and what was handed over stays, at the head of
  the line. Nothing new is taken; it is tried again with a growing pause, and at every question.
  Writes that are handed over can be done twice without harm, so it does not matter whether a
  lost connection had got them there.
* When it refuses a row for what the row is, the batch is written again row by row, and what
  belongs to the row's conversation is left out, from then on.
"""

import asyncio
import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

from sidetask.core.errors import (
    ConversationTakenError,
    StoreClosedError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
)
from sidetask.core.ids import ConversationId
from sidetask.stores.sql.driver import Connection, Driver, Looker, Row
from sidetask.stores.sql.thread import Item, Question, Worker, Write, Writer, Written, anew

T = TypeVar("T")

WAITING = 100_000
"""How many writes may wait. More are refused: the database is slower than the program."""
_PAUSES = (0.1, 1.0)
"""Seconds between two tries, at first and at most."""

_log = logging.getLogger(__name__)


class Line(Looker):
    """Hands writes and questions to the one thread that has the connection."""

    def __init__(self, driver: Driver, *, waiting: int = WAITING) -> None:
        self._limit = waiting
        self._worker = Worker("sidetask-store")
        self._writer = Writer(driver)
        self._waiting: list[Item] = []
        self._batch: list[Item] = []
        """What is being written now."""
        self._scheduled = False
        self._failure: StoreError | None = None
        self._pause = _PAUSES[0]
        self._retry: asyncio.TimerHandle | None = None
        self.refused: dict[str, StoreRefusedError] = {}
        """Conversations of which nothing more is taken."""
        self.taken: list[Callable[[ConversationId], None]] = []
        """Who hears of those among them that other processes have."""
        self._closed = False
        self._loop: AbstractEventLoop | None = None

    # -- in the loop ---------------------------------------------------------------------------

    def hand_over(self, write: Write, conversation_id: str, row: Row) -> None:
        """Take a row.

        Raises:
            StoreError: The database takes nothing, or nothing of this conversation.
        """
        if self._failure is not None or self._closed or len(self._waiting) >= self._limit:
            self._check()
        if self.refused and conversation_id in self.refused:
            raise anew(self.refused[conversation_id])
        if not self._scheduled:
            self._schedule()
        self._waiting.append((write, conversation_id, row))

    async def ask(self, conversation_id: str | None, ask: Callable[[Connection], T] | None) -> T:
        """Do something in a transaction, after all that was handed over. Those who hear of the
        conversation, or of another topic, are told; None: nobody is.

        Raises:
            StoreError: It could not be done; nothing of it is written.
        """
        if self._closed:
            raise StoreClosedError
        if ask is not None and conversation_id is not None and conversation_id in self.refused:
            raise anew(self.refused[conversation_id])
        return await self._stand(conversation_id, ask)

    async def _stand(self, conversation_id: str | None, ask: Callable[[Connection], T] | None) -> T:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._move_to(loop)
        answered = loop.create_future()
        question = Question(ask, conversation_id, answered)
        if not self._scheduled:
            self._schedule()
        self._waiting.append((None, conversation_id, question))
        await self._wait_answered(question)
        if question.error is not None:
            raise question.error
        return cast("T", question.answer)

    async def flushed(self) -> None:
        """Return when all that was handed over is written."""
        if self._waiting or self._batch or self._failure is not None or self._closed:
            await self.ask(None, None)

    async def read(self, question: Callable[[Connection], T]) -> T:
        """Ask something that writes nothing, after all that was handed over is written."""
        await self.flushed()
        return await self.submit(question)

    def submit(self, question: Callable[[Connection], T]) -> asyncio.Future[T]:
        """Ask something that writes nothing, now."""
        if self._closed:
            raise StoreClosedError
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._worker, self._writer.answer, question)

    async def open(self) -> None:
        """Connect, and bring the tables up to date. Twice is fine."""
        await self.submit(lambda _: None)

    async def close(self) -> None:
        """Write what waits, and let go."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._waiting or self._batch:
                await self._stand(None, None)
        finally:
            if self._retry is not None:
                self._retry.cancel()
            loop = asyncio.get_running_loop()
            disconnected = loop.run_in_executor(self._worker, self._writer.disconnect)
            self._worker.shutdown()
            await asyncio.wait({disconnected})

    def _check(self) -> None:
        if self._closed:
            raise StoreClosedError
        if self._failure is not None:
            raise anew(self._failure)
        raise StoreUnavailableError(
            f"{self._limit:,} writes wait for it", "slow down: it is slower than this program"
        )

    async def _wait_answered(self, question: Question[T]) -> None:
        """Wait, and when cancelled, know what became of it: see `Store`."""
        try:
            await asyncio.wait({question.answered})
        except asyncio.CancelledError:
            before = len(self._waiting)
            self._waiting = [item for item in self._waiting if item[2] is not question]
            if len(self._waiting) < before or question.ask is None:
                raise
            while not question.answered.done():
                with suppress(asyncio.CancelledError):  # noted; it is delivered below
                    await asyncio.wait({question.answered})
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()  # its count is as it was after
                task.cancel()  # at the next await: the answer is known, and must be told first

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._move_to(loop)
        loop.call_soon(self._begin_batch)
        self._scheduled = True

    def _move_to(self, loop: AbstractEventLoop) -> None:
        """Go on in another loop: the one before has ended, perhaps in the middle of a batch, whose
        writes may be done again."""
        self._loop = loop
        left = [item for item in (*self._batch, *self._waiting) if item[0] is not None]
        self._batch, self._waiting = [], left
        self._scheduled = False

    def _begin_batch(self) -> None:
        """Write all that waits. `_scheduled` stays set until it is done."""
        self._batch, self._waiting = self._waiting, []
        if not self._batch:
            self._scheduled = False
            return
        loop = asyncio.get_running_loop()
        writing = loop.run_in_executor(self._worker, self._writer.write, self._batch)
        writing.add_done_callback(self._end_batch)

    def _end_batch(self, writing: asyncio.Future[Written]) -> None:
        if writing.cancelled():
            return  # the loop ends
        batch, self._batch = self._batch, []
        self._scheduled = False
        written = writing.result()
        for key, refusal in written.refused.items():
            self._refuse(key, refusal)
        if written.failure is not None:
            self._keep(batch, written.failure)
        elif self._failure is not None:
            _log.warning("the store takes again what it is given")
            self._failure, self._pause = None, _PAUSES[0]
        for _, _, item in batch:
            if isinstance(item, Question):
                if isinstance(item.error, ConversationTakenError):
                    self._refuse(item.error.conversation_id, item.error)
                _finish(item, written.failure)
        questions = any(write is None for write, _, _ in self._waiting)
        if self._waiting and (self._failure is None or questions):
            self._schedule()

    def _refuse(self, key: str, error: StoreRefusedError) -> None:
        """Take nothing more of this. Whoever had what another process has now hears of it in this
        tick: before who has asked, and before all who write to it."""
        is_known, self.refused[key] = key in self.refused, error
        if not is_known:
            self._leave_out(key, error)
        if not is_known and isinstance(error, ConversationTakenError):
            for heard in tuple(self.taken):
                heard(ConversationId(key))

    def _leave_out(self, key: str, error: StoreRefusedError) -> None:
        """What was handed over while that was being found out would leave a gap, and stand where
        another process is about to write."""
        waiting, self._waiting = self._waiting, []
        for item in waiting:
            _, of, what = item
            if of != key or (isinstance(what, Question) and what.ask is None):
                self._waiting.append(item)
            elif isinstance(what, Question):
                what.error = anew(error)
                _finish(what, None)

    def _keep(self, batch: list[Item], failure: StoreError) -> None:
        """Nothing of it was written: the questions fail, the rest is for the next try."""
        if self._failure is None:
            _log.error("%s", failure)
        self._failure = failure
        self._waiting[:0] = [item for item in batch if item[0] is not None]
        if self._retry is not None:
            self._retry.cancel()
        self._retry = asyncio.get_running_loop().call_later(self._pause, self._try_again)
        self._pause = min(2 * self._pause, _PAUSES[1])

    def _try_again(self) -> None:
        self._retry = None
        if self._failure is not None and not self._closed and not self._scheduled:
            if not self._waiting:  # nothing was lost: whether it works, the next write tells
                self._failure = None
            else:
                self._schedule()


def _finish(question: Question[Any], failure: StoreError | None) -> None:
    if failure is not None:
        question.error = anew(failure)
    if not question.answered.done():
        question.answered.set_result(None)
