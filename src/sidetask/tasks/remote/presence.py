"""This process among the members of its store, and who else lives.

Nothing tells of a death, so while somebody waits for others they are looked at once a second; and
whenever the queue hints that something has changed.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Sequence
from importlib.metadata import version

from sidetask.core.errors import SidetaskError
from sidetask.stores.members import Member, Members, Membership
from sidetask.stores.queue import StoredJob
from sidetask.tasks.aio.spawn import spawn, wait_done

PAUSE = 1.0
"""Seconds until a member whose connection broke tries to join again."""

_log = logging.getLogger(__name__)


class Presence:
    """Is a member as long as it is open."""

    def __init__(self, members: Members, now: Callable[[], float]) -> None:
        self._members = members
        self._now = now
        self._membership: Membership | None = None
        self._joining = asyncio.Lock()
        self._staying: asyncio.Task[None] | None = None
        self.joined_again: Callable[[], None] = lambda: None
        """Called when it is a member under another name than before."""
        self.keys: frozenset[str] | None = None
        """What living workers can carry out; None: no worker lives."""

    @property
    def id(self) -> str | None:
        """The name by which this process owns jobs; None: it is no member now."""
        return None if self._membership is None else self._membership.member.id

    async def join(self) -> None:
        """Become a member, and look who else is. Twice is fine.

        Raises:
            ConfigurationError: The store cannot tell who lives.
            StoreError: It cannot be reached.
        """
        async with self._joining:
            if self._membership is not None:
                return
            self._membership = await self._members.join(self._member())
            await self.look()
            if self._staying is None:
                self._staying = spawn(self._stay(), name="membership")

    async def leave(self) -> None:
        """Be a member no longer. Twice is fine."""
        staying, self._staying = self._staying, None
        if staying is not None:
            staying.cancel()
            await wait_done(staying)
        membership, self._membership = self._membership, None
        self.keys = None
        if membership is not None:
            await membership.leave()

    async def look(self) -> Sequence[StoredJob]:
        """Look who lives, and see to the jobs of those that died, which are returned.

        Raises:
            StoreError: It cannot be asked.
        """
        membership = self._membership
        if membership is None:
            return ()
        reaped = await membership.reap()
        keys = _keys(await self._members.living())
        if self._membership is membership:
            self.keys = keys
        return reaped

    async def _stay(self) -> None:
        """Join again whenever the membership was lost."""
        while True:
            membership = self._membership
            if membership is not None:
                await membership.lost.wait()
                # Others take this process for dead, and have its jobs: it begins anew.
                self._membership = self.keys = None
            try:
                async with self._joining:
                    self._membership = await self._members.join(self._member())
                self.joined_again()
                await self.look()
            except SidetaskError:  # one that lets nobody in just now, too
                _log.debug("no member of the store", exc_info=True)
                await asyncio.sleep(PAUSE)

    def _member(self) -> Member:
        host, pid = socket.gethostname(), os.getpid()
        return Member(
            id=f"{host}-{pid}-{os.urandom(4).hex()}",
            role="home",
            host=host,
            pid=pid,
            started_at=self._now(),
            version=version("sidetask"),
        )


def _keys(living: Sequence[Member]) -> frozenset[str] | None:
    workers = [each for each in living if each.role == "worker" and not each.draining]
    return frozenset([key for each in workers for key in each.tools]) or None
