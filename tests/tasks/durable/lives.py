"""Processes that die: managers one after the other over one store that outlives them."""

import asyncio
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, TypeVar

from sidetask.core.errors import StoreRefusedError, StoreUnavailableError
from sidetask.core.events import Event
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.messages import Message
from sidetask.stores.base import Kind, Record
from sidetask.stores.memory import MemoryStore
from sidetask.tasks.parts.permits import Limits
from sidetask.tasks.parts.runner import Executor
from sidetask.testing import VirtualClock
from tests.tasks.harness import Bench, C

T = TypeVar("T")


class Disk(MemoryStore):
    """What one process sees of a store that survives it. A dead process writes nothing more."""

    durable = True
    dead = False
    full = False
    away = False
    """Nothing can be read."""
    refuses = False
    """No row is exchanged for another one."""
    slow: "asyncio.Event | None" = None
    """Holds up `stored`."""

    def view(self) -> "Disk":
        return copy(self)  # the same rows

    def append(self, fact: Event) -> None:
        if self.full:
            raise StoreUnavailableError("the disk is full", "make room")
        if not self.dead:
            super().append(fact)

    def put(self, record: Record[Any]) -> None:
        if self.full:
            raise StoreUnavailableError("the disk is full", "make room")
        if not self.dead:
            super().put(record)

    async def find(self, kind: Kind[T], **narrowed: Any) -> Sequence[Record[T]]:
        if self.away:
            raise StoreUnavailableError("it is away", "wait")
        return await super().find(kind, **narrowed)

    async def stored(self) -> None:
        if self.slow is not None:
            await self.slow.wait()

    async def swap(self, record: Record[Any], *, expect: str | None) -> Record[Any] | None:
        if self.full:
            raise StoreUnavailableError("the disk is full", "make room")
        if self.refuses:
            raise StoreRefusedError(record.conversation_id, "a rule of the database")
        if self.dead:
            await asyncio.Event().wait()
        return await super().swap(record, expect=expect)

    async def commit_turn(
        self,
        conversation_id: ConversationId,
        messages: Sequence[Message],
        *,
        ack: Sequence[TaskId] = (),
        **closing: Any,
    ) -> None:
        if not self.dead:
            await super().commit_turn(conversation_id, messages, ack=ack, **closing)


class Lives:
    """One process after the other."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._disk = Disk()
        self.runs: list[str] = []
        """What tools did, in all lives."""
        self.now: Bench | None = None

    @property
    def disk(self) -> Disk:
        assert self.now is not None
        assert isinstance(self.now.store, Disk)
        return self.now.store

    async def begin(
        self, tools: Mapping[str, Executor] | None = None, *, limits: Limits | None = None
    ) -> Bench:
        """A process, which takes up what the one before has left."""
        await self.die()
        self.now = Bench(self._clock, tools, limits=limits, store=self._disk.view())
        await self.revive()
        return self.now

    async def revive(self) -> None:
        assert self.now is not None
        kept = self.now.manager.kept
        assert kept is not None
        kept.open(C)
        await kept.revive(C)

    async def die(self) -> None:
        """The process is killed: nothing of it is written any more."""
        if self.now is not None:
            self.disk.dead = True
            await self.now.handle.close(0)
            self.now = None
