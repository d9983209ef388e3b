"""Keeping tasks in a store that survives the process.

What is kept: background and detached tasks and those that wait for a person, each in one row; a
result from its end until the history write that acknowledges it; questions and their decisions.
A row is handed over in the tick of its event and before it: after a crash both are there, or none.

What the store does not take now (a full disk) is owed: it is handed over again with the next row,
and before the next acknowledgement, so that a result is never told twice because its row came late.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from os import urandom
from typing import Any

from sidetask.core.errors import CodecError, StoreError, StoreRefusedError
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.routing import DeliveryMode
from sidetask.stores.base import DELIVERED, Record, Store
from sidetask.stores.insisting import insist
from sidetask.tasks.aio.spawn import spawn, wait_done
from sidetask.tasks.aio.telling import when_safe
from sidetask.tasks.handle import snapshot
from sidetask.tasks.parts.records import Keeping, TaskRecord
from sidetask.tasks.stored import (
    APPROVALS,
    NEWS,
    ORDERS,
    Order,
    approval_record,
    result_record,
    task_record,
)
from sidetask.tasks.values import Approval, Resolution, TaskSnapshot

_log = logging.getLogger(__name__)


class StoreKeeper(Keeping):
    """Keeps the tasks of all conversations of a manager."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        # No two processes of a store may ever draw the same: jobs are found by ids made of it.
        self.tag = urandom(6).hex()
        self.store = store
        self._now = now
        self._owed: dict[tuple[str, str, str], Record[Any]] = {}
        self._let_go: set[ConversationId] = set()
        self._ruling: set[asyncio.Task[None]] = set()
        self._done_with: dict[TaskId, list[Record[Order]]] = {}
        """Orders that are done when a task has ended."""

    def moved(self, record: TaskRecord) -> bool:
        if self._done_with and record.ended:
            for order in self._done_with.pop(record.id, ()):
                self.done(order)
        if record.launch.conversation_id in self._let_go:
            return False
        if record.launch.parent_id is not None:
            return True  # whoever awaits it starts it again
        if not record.kept:
            if record.foreground and record.status is not TaskStatus.AWAITING_APPROVAL:
                return True
            record.kept = True
        self._put(task_record(kept_snapshot(record)))
        return True

    def dropped(self, record: TaskRecord) -> None:
        self._owed.pop(_key(task_record(snapshot(record))), None)

    def posted(self, resolution: Resolution, *, to_loop: bool) -> None:
        try:
            self._put(result_record(resolution, to_loop=to_loop, at=self._now()))
        except CodecError:  # what a host's own executor gave is no JSON; a model reads the text
            plain = replace(resolution, value=None, metadata={})
            self._put(result_record(plain, to_loop=to_loop, at=self._now()))

    def hush(self, result: Resolution) -> None:
        """It waits for a turn of whoever opens the conversation."""
        record = result_record(result, to_loop=True, at=self._now())
        self._put(replace(record, status=NEWS))

    def taken(self, results: Iterable[Resolution]) -> None:
        for result in results:
            record = result_record(result, to_loop=False, at=self._now())
            self._put(replace(record, status=DELIVERED))

    def asked(self, approval: Approval) -> None:
        self._put(approval_record(approval))

    def keep(self, record: Record[Any]) -> None:
        """Keep this, too, in place of the one of its id."""
        self._put(record)

    def order(self, conversation_id: ConversationId, order: Order) -> None:
        """Whoever has the conversation next has this to do."""
        self._put(
            Record(
                kind=ORDERS,
                conversation_id=conversation_id,
                id=f"{self.tag}-{urandom(8).hex()}",
                status="open",
                at=self._now(),
                value=order,
            )
        )

    def done(self, order: Record[Order]) -> None:
        """What another process has ordered is done with what is handed over in this tick."""
        self._put(self.as_done(order))

    def as_done(self, order: Record[Order]) -> Record[Order]:
        """What is kept of an order that is done."""
        return replace(order, status="done", at=self._now())

    def done_with(self, record: TaskRecord, order: Record[Order]) -> None:
        """It is done when this task has ended."""
        self._done_with.setdefault(record.id, []).append(order)

    def recall(self, asked: Approval, enter: Callable[[Approval], None]) -> None:
        task = spawn(
            _recall(self.store, asked, enter),
            name=f"what became of {asked.id}",
            done=self._ruling.discard,
        )
        self._ruling.add(task)

    def rule(
        self, decided: Approval, enter: Callable[[Approval], None], over: Callable[[], None]
    ) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            self._ruling.discard(task)
            over()

        task = spawn(self._rule(decided, enter), name=f"decision on {decided.id}", done=ended)
        self._ruling.add(task)

    async def safe(self) -> None:
        await when_safe(self.store.stored)

    def pay(self) -> None:
        """Hand over what is owed, as far as the store takes it."""
        for key, record in list(self._owed.items()):
            try:
                self.store.put(record)
            except StoreRefusedError:
                _log.warning("%s %s is not kept", record.kind.name, record.id, exc_info=True)
            except StoreError:
                return
            del self._owed[key]

    def let_go(self, conversation_id: ConversationId) -> None:
        """Whatever becomes of its tasks now, a restart finds them as they are at this moment."""
        self._let_go.add(conversation_id)

    def take_up(self, conversation_id: ConversationId) -> None:
        """It is this process's again."""
        self._let_go.discard(conversation_id)

    async def close(self, grace: float) -> None:
        """Enter the decisions that were made; what is not entered within `grace` seconds stays
        open."""
        self.pay()
        for task in tuple(self._ruling):
            if not await wait_done(task, within=grace):
                task.cancel()
                await wait_done(task)

    async def _rule(self, decided: Approval, enter: Callable[[Approval], None]) -> None:
        try:
            stands = await insist(partial(self.store.swap, approval_record(decided), expect="open"))
        except StoreError:
            _log.exception("the decision on %s could not be entered", decided.id)
            return
        # None: its conversation was deleted, or the store never took the question.
        enter(decided if stands is None else stands.value)

    def _put(self, record: Record[Any]) -> None:
        if record.conversation_id in self._let_go:
            return
        if self._owed:
            self._owed.pop(_key(record), None)
            self._owed[_key(record)] = record
            self.pay()
            return
        try:
            self.store.put(record)
        except StoreRefusedError:
            _log.warning("%s %s is not kept", record.kind.name, record.id, exc_info=True)
        except StoreError:
            self._owed[_key(record)] = record


async def _recall(store: Store, asked: Approval, enter: Callable[[Approval], None]) -> None:
    try:
        found = await insist(partial(store.get, APPROVALS, asked.conversation_id, asked.id))
    except StoreError:
        _log.exception("whether %s was decided is not known", asked.id)
        return
    if found is not None and not found.open:
        enter(found.value)


def kept_snapshot(record: TaskRecord) -> TaskSnapshot:
    """A task as it is kept: its policy with what the host has changed since the launch."""
    kept = snapshot(record)
    delivery = DeliveryMode.TO_LOOP if record.to_loop else DeliveryMode.MANUAL
    policy = kept.policy
    if policy.on_complete == record.on_complete and policy.delivery == delivery:
        return kept
    return replace(kept, policy=policy.with_(delivery=delivery, on_complete=record.on_complete))


def _key(record: Record[Any]) -> tuple[str, str, str]:
    return record.kind.name, record.conversation_id, record.id
