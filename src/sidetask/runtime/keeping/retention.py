"""Forgetting by itself what a store no longer needs.

Events and closed records older than the retention go: the log of what happened, results that were
told, steps of tasks that have ended. Conversations never do: their messages, state, questions and
counts are what a user comes back to, and only a host knows when nobody will.
"""

import asyncio
import logging
from collections.abc import Callable, Collection

from sidetask.core.errors.checks import check_seconds
from sidetask.core.ids import TaskId
from sidetask.engines.base import Engine
from sidetask.stores.base import PAGE, Record, Store
from sidetask.tasks.aio.spawn import spawn, wait_done
from sidetask.tasks.stored import TASKS
from sidetask.tasks.values import TaskSnapshot

DAY = 86_400.0
RETENTION = 30 * DAY
"""Seconds that events and closed records are kept."""
FIRST = 600.0
"""Seconds until the first look: a program that is done by then has no time to lose with it."""

_log = logging.getLogger(__name__)


class Retention:
    """Looks once a day, for as long as its runtime is open."""

    def __init__(
        self, store: Store, engine: Engine | None, seconds: float | None, now: Callable[[], float]
    ) -> None:
        """`seconds` None: nothing is forgotten.

        Raises:
            ConfigurationError: They are not above 0.
        """
        if seconds is not None:
            check_seconds("retention", seconds)
        self._store = store
        self._engine = engine
        self._seconds = seconds if store.durable else None
        self._now = now
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Look from now on. Twice is fine."""
        if self._seconds is not None and self._task is None:
            self._task = spawn(self._look_daily(self._seconds), name="retention")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await wait_done(self._task)

    async def _look_daily(self, seconds: float) -> None:
        pause = FIRST
        while True:
            await asyncio.sleep(pause)
            pause = DAY
            try:
                await self.forget(self._now() - seconds)
            except Exception:  # noqa: BLE001 - the one boundary: tomorrow it is tried again
                _log.warning("what is old is not forgotten today", exc_info=True)

    async def forget(self, older_than: float) -> None:
        """Forget what is older, in seconds since the epoch."""
        await self._store.vacuum(older_than, conversations=False)
        if self._engine is not None and self._engine.capabilities.durable:
            await self._engine.vacuum(older_than, await self._living())

    async def _living(self) -> Collection[TaskId]:
        """The tasks that have not ended, in whichever process."""
        found: list[Record[TaskSnapshot]] = []
        while True:
            after = found[-1] if found else None
            page = await self._store.find(TASKS, open=True, after=after)
            found += page
            if len(page) < PAGE:
                return {each.value.id for each in found}
