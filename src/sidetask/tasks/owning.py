"""Who has a conversation open: one record for each, which a `swap` decides.

    its status        who has it open          who may take it
    ----------------  -----------------------  ------------------------------------------------
    nobody            nobody                   anybody
    a member's id,
      which is dead   nobody any more          anybody
      which lives     a user's process         another user's process, by force: the first one is
                                               refused what it writes next
      and adopted     a worker, by itself      a user's process, which asks for it, and is given
                                               it; after `PATIENCE` it takes it
    stuck             nobody                   a user's process; no worker, for `TAKINGS` died of it
    below             whoever has the          nobody takes it up by itself: what its host forbids
                      conversation above it    is known there alone

The record is made with the first turn of a conversation, in the same transaction. A process that
was taken for dead, since its connection broke, enters again what it still has when it is a member
again, under its new name; what was taken up meanwhile is lost to it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Literal, TypeAlias

from sidetask.core.errors import ConversationTakenError, StoreError
from sidetask.core.ids import ConversationId
from sidetask.stores.base import Record, Store
from sidetask.stores.members import BELOW, HOME, NOBODY, STUCK, Forsaken, Members
from sidetask.tasks.stored import HOMES, Home

PATIENCE, LOOK = 3.0, 0.05
"""Seconds that a user's process waits for a worker to let go; and between two looks."""
TAKINGS = 3
"""How many workers may die of a conversation."""

Standing: TypeAlias = Literal["ours", "wanted", "lost"]

_log = logging.getLogger(__name__)


class _Held:
    """A conversation that this process has open."""

    __slots__ = ("entered", "home", "member")

    def __init__(self, home: Home, member: str, *, entered: bool) -> None:
        self.home = home
        self.member = member
        """The name by which the record says so."""
        self.entered = entered
        """There is a record."""


class Owning:
    """What of the conversations of a store this process has open."""

    def __init__(
        self,
        store: Store,
        members: Members,
        *,
        me: Callable[[], str | None],
        now: Callable[[], float],
        soon: Callable[[Callable[[], Awaitable[object]], str], None],
    ) -> None:
        """`me`: its id as a member, as long as it is one. `soon` writes until it is written."""
        self._store = store
        self._members = members
        self._me = me
        self._now = now
        self._soon = soon
        self._held: dict[ConversationId, _Held] = {}
        self._was = ""
        self.on_taken: Callable[[ConversationId], None] = lambda _: None
        """Called when something that is open here turns out to be another process's."""

    @property
    def _name(self) -> str:
        """This process's id; while its connection is broken, the one it had: a name that looks
        dead is waited for, and nobody's conversation is not."""
        self._was = self._me() or self._was
        return self._was or NOBODY

    # -- taking ------------------------------------------------------------------------------------

    async def take(self, key: ConversationId, *, is_new: bool = False) -> bool:
        """Have a conversation, which is about to be read. True: this process has adopted it.
        `is_new`: it was given its name just now, and nobody else can have it.

        Raises:
            StoreError: It cannot be asked; nothing was taken.
        """
        held = self._held.get(key)
        if held is not None:
            return held.home.adopted
        is_there = False
        if not is_new:
            try:
                is_there = await self._take(key)
            except BaseException:  # the one boundary: what is given to it now has nobody
                self._soon(partial(self._give_back, key), f"giving {key} back")
                raise
        self._held[key] = _Held(Home(), self._name, entered=is_there)
        return False

    async def _take(self, key: ConversationId) -> bool:
        """False: there is no record yet."""
        until = asyncio.get_running_loop().time() + PATIENCE
        while (record := await self._store.get(HOMES, key, HOME)) is not None:
            if await self._asks(record, self._name, until):
                await asyncio.sleep(LOOK)
            elif await self._swap(key, Home(), self._name, expect=record.status):
                return True
        return False

    async def _give_back(self, key: ConversationId) -> None:
        if key not in self._held:
            await self._swap(key, Home(), NOBODY, expect=self._name)

    async def _asks(self, record: Record[Home], me: str, until: float) -> bool:
        """Whether it is worth while to wait for who has it now; if so, they are asked."""
        home = record.value
        if not home.adopted or asyncio.get_running_loop().time() >= until:
            return False
        if record.status not in [each.id for each in await self._members.living()]:
            return False
        if home.wanted_by != me:
            asking = replace(home, wanted_by=me)
            await self._swap(record.conversation_id, asking, record.status, expect=record.status)
        return True

    async def take_below(self, key: ConversationId) -> None:
        """Another conversation has this one as its part from now on.

        Raises:
            StoreError: It cannot be asked.
        """
        record = await self._store.get(HOMES, key, HOME)
        if record is not None:
            await self._swap(key, Home(), BELOW, expect=record.status)

    def enter(self, key: ConversationId) -> None:
        """Its first turn begins: make its record, with what is handed over in this tick."""
        held = self._held.get(key)
        if held is None or held.entered:
            return
        held.entered, held.member = True, self._name
        self._store.put(self._record(key, held.home, held.member))

    async def adopt(self, found: Forsaken, *, alone: bool = True) -> bool:
        """Take up what nobody has. False: somebody else was quicker, or it is stuck; or it is on
        its last try, and would not be `alone` in that.

        Raises:
            StoreError: It cannot be asked.
        """
        key, me = found.conversation_id, self._me()
        record = await self._store.get(HOMES, key, HOME)
        if me is None or record is None or record.status != found.had_by or key in self._held:
            return False
        takings = record.value.takings
        if takings >= TAKINGS:
            if await self._swap(key, record.value, STUCK, expect=found.had_by):
                _log.error(
                    "conversation %s is left alone: %d workers died while they had it. It goes on"
                    " when a process resumes it",
                    key,
                    takings,
                )
            return False
        if takings + 1 == TAKINGS and not alone:
            return False
        home = Home(adopted=True, takings=takings + 1)
        if not await self._swap(key, home, me, expect=found.had_by):
            return False
        self._held[key] = _Held(home, me, entered=True)
        return True

    def takings(self, key: ConversationId) -> int:
        """How often in a row it was adopted with no good end."""
        held = self._held.get(key)
        return 0 if held is None else held.home.takings

    # -- having ------------------------------------------------------------------------------------

    async def stands(self, key: ConversationId) -> Standing:
        """Whether this process may keep what it has adopted.

        Raises:
            StoreError: It cannot be asked.
        """
        record = await self._store.get(HOMES, key, HOME)
        held = self._held.get(key)
        if held is None or record is None or record.status not in (held.member, self._me()):
            return "lost"
        return "wanted" if record.value.wanted_by else "ours"

    async def is_elsewhere(self, key: ConversationId) -> bool:
        """Whether another process has by now what this one had open: what is out of it is that
        one's.

        Raises:
            StoreError: It cannot be asked.
        """
        record = await self._store.get(HOMES, key, HOME)
        return record is not None and record.status not in self.names(key)

    def names(self, key: ConversationId) -> Collection[str]:
        """What its record says as long as no other process has it."""
        held = self._held.get(key)
        mine = (self._me(), None if held is None else held.member)
        return [NOBODY, STUCK, BELOW, *[name for name in mine if name is not None]]

    async def was_taken(self, key: ConversationId) -> bool:
        """Whether another process has taken what a user has opened here. (Who has adopted one
        looks for itself: see `stands`.)

        Raises:
            StoreError: It cannot be asked.
        """
        held = self._held.get(key)
        if held is None or held.home.adopted or not held.entered:
            return False
        return await self.is_elsewhere(key) and self._held.get(key) is held

    async def went_well(self, key: ConversationId) -> None:
        """What it was adopted for is done: if this process dies later, it was not of that.

        Raises:
            StoreError: It cannot be written.
        """
        held = self._held.get(key)
        if held is not None and held.home.takings:
            home = replace(held.home, takings=0)
            record = await self._store.get(HOMES, key, HOME)
            if record is not None and record.status == held.member:
                wanted = replace(home, wanted_by=record.value.wanted_by)
                if await self._swap(key, wanted, held.member, expect=held.member):
                    held.home = home

    async def enter_again(self) -> None:
        """This process is a member under another name.

        Raises:
            StoreError: It cannot be written; it can be tried again.
        """
        for key, held in tuple(self._held.items()):
            me = self._me()
            if me is None or not held.entered or held.member == me:
                continue
            record = await self._store.get(HOMES, key, HOME)
            if record is None or self._held.get(key) is not held:
                continue
            if await self._is_theirs(record, held.member):
                self.on_taken(key)
            elif await self._swap(key, held.home, me, expect=record.status):
                held.member = me

    async def _is_theirs(self, record: Record[Home], mine: str) -> bool:
        """Whether somebody has it who did not find it here. A name that lives no more may be one
        that this process had between two breaks of its connection."""
        if record.status in (mine, NOBODY, STUCK, BELOW):
            return False
        living = await self._members.living()
        return record.value.adopted or record.status in [each.id for each in living]

    # -- letting go --------------------------------------------------------------------------------

    async def leave(self, key: ConversationId, *, failed: bool = False) -> None:
        """Have it no longer; `failed`: it could not even be opened, which is nothing to count."""
        held = self._held.pop(key, None)
        if held is None or not held.entered:
            return
        home = Home(takings=max(held.home.takings - 1, 0)) if failed else Home()

        async def leave() -> None:
            if key in self._held:
                return
            to = NOBODY
            if held.home.adopted:
                record = await self._store.get(HOMES, key, HOME)
                to = NOBODY if record is None else record.value.wanted_by or NOBODY
            await self._swap(key, home, to, expect=held.member)

        try:
            try:
                await leave()
            except ConversationTakenError:  # what is refused is its history: is it entered, too?
                await self._store.last_seq(key)
                await leave()
        except StoreError:
            self._soon(leave, f"letting go of {key}")

    # -- writing -----------------------------------------------------------------------------------

    async def _swap(self, key: ConversationId, home: Home, status: str, *, expect: str) -> bool:
        record = self._record(key, home, status)
        return await self._store.swap(record, expect=expect) is record

    def _record(self, key: ConversationId, home: Home, status: str) -> Record[Home]:
        return Record(
            kind=HOMES, conversation_id=key, id=HOME, status=status, at=self._now(), value=home
        )
