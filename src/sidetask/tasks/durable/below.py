"""Conversations that work for a task, and what is left open of one that works no more.

An agent that is called as a tool, or dispatched, has a conversation of its own while its task runs.
Nobody takes that up again: after a crash its task fails with an unknown outcome, or begins anew,
with a fresh one. So the conversation of the task has a record of it, which is open as long as it
is. It ends with all that is open in it, and in those below it: by itself, or, if its process has
died, when the conversation of its task is taken up.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sidetask.core.errors import StoreError
from sidetask.core.ids import ConversationId, TaskId
from sidetask.stores.base import Kind, Record, Store
from sidetask.tasks.durable.keeper import StoreKeeper
from sidetask.tasks.durable.reviving import all_open
from sidetask.tasks.stored import APPROVALS, ORDERS, RESULTS, SUB_AGENTS, SubAgent
from sidetask.tasks.values import Approval

GONE = "gone"
"""The status of what nobody waits for, since its conversation is over."""

_KINDS: Sequence[Kind[Any]] = (APPROVALS, RESULTS, ORDERS)
_log = logging.getLogger(__name__)


class Stay:
    """One conversation, as that of its task knows of it."""

    __slots__ = ("_above", "_begun", "_keeper", "_now", "_task_id")

    def __init__(
        self,
        keeper: StoreKeeper,
        above: ConversationId,
        task_id: TaskId,
        now: Callable[[], float],
    ) -> None:
        """It works for a task that the live agent `above` has started, or a task of it."""
        self._keeper = keeper
        self._now = now
        self._above = above
        self._task_id = task_id
        self._begun: Record[SubAgent] | None = None

    def enter(self, key: ConversationId) -> None:
        """Its first turn begins: make its record, with what is handed over in this tick."""
        self._begun = Record(
            kind=SUB_AGENTS,
            conversation_id=self._above,
            id=key,
            status="open",
            at=self._now(),
            value=SubAgent(task_id=self._task_id),
        )
        self._keeper.keep(self._begun)

    async def leave(self, key: ConversationId, *, failed: bool = False) -> None:
        """It is over, however it has ended."""
        if self._begun is None:
            return
        try:
            left = await _open_in(self._keeper.store, key)
            close(self._keeper, [*left, self._begun], self._now())
        except StoreError:  # it is closed when the conversation above it is taken up
            _log.warning("what is open of %s stays open for now", key, exc_info=True)


async def find_below(store: Store, key: ConversationId) -> list[Record[Any]]:
    """All that is open of the conversations that worked for tasks of this one.

    Raises:
        StoreError: It cannot be read.
    """
    found: list[Record[Any]] = []
    for record in await all_open(store, SUB_AGENTS, key):
        found += [*await _open_in(store, ConversationId(record.id)), record]
    return found


def close(keeper: StoreKeeper, records: Sequence[Record[Any]], at: float) -> None:
    """Nobody waits for these any more."""
    for record in records:
        if isinstance(record.value, Approval):
            keeper.asked(record.value.withdrawn(at))
        else:
            keeper.keep(replace(record, status=GONE, at=at))


async def _open_in(store: Store, key: ConversationId) -> list[Record[Any]]:
    found: list[Record[Any]] = []
    for kind in _KINDS:
        found += await all_open(store, kind, key)
    return found + await find_below(store, key)
