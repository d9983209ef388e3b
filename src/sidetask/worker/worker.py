"""A worker: takes jobs from the queue of a store, carries them out, and says what became of them.

    join -> claim and carry out -> drain -> leave
              |
              +-> lost: stop at once, write nothing

* A job is its own until the queue says otherwise. What it writes of one that is not any more is
  refused there, so there is no moment at which two workers could both end a job.
* `drain` claims no more. What runs gets its grace; then it is cancelled and handed back, if it may
  begin again. What may not ends as lost: nobody knows how far it got.
* Beside that it has conversations open that have no home: see `worker.adoption`.
* Who loses its lock may be taken for dead, and its jobs be at work elsewhere. It stops them, and
  whoever started it starts another one.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version

from sidetask.core.errors import (
    ConfigurationError,
    StoreError,
)
from sidetask.core.errors.checks import check_count, check_kind, check_seconds
from sidetask.core.ids import TaskId
from sidetask.runtime.runtime import Runtime
from sidetask.stores.members import Member, Membership
from sidetask.stores.queue import MAX_CLAIMS, Queue
from sidetask.tasks.aio.spawn import run_to_end, spawn, stop, wait_done
from sidetask.worker.adoption.adopter import CONVERSATIONS, Adopter
from sidetask.worker.asks import Asks
from sidetask.worker.counters import Counters, Gauges
from sidetask.worker.crew import Crew
from sidetask.worker.intake import Intake
from sidetask.worker.peers import LOOKED_THROUGH, Peers
from sidetask.worker.work import Work
from sidetask.worker.workshop import Workshop

CLEANUP, HURRY = 5.0, 1.0
"""Seconds that jobs get to stop when they are cut off; and when that is to be at once."""
GOING = "the worker is going"
_log = logging.getLogger(__name__)


class Worker:
    """Carries out background calls of conversations that other processes have open, with the tools
    of the agents that are registered with `runtime`: `concurrency` at once. At the end what still
    runs gets `grace` seconds. A job is set aside when `retries` workers have died of it.

    Up to `conversations` that have something to do and are open nowhere it takes up itself, carries
    them to idle, and lets them go; 0: it does not. With an engine that was given to the runtime it
    never does.

    Raises:
        ConfigurationError: A number out of range, or it could do nothing: no agent has a tool that
            may run elsewhere, and it takes up no conversations.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        concurrency: int = 20,
        grace: float = 30.0,
        retries: int = MAX_CLAIMS,
        conversations: int = CONVERSATIONS,
    ) -> None:
        for name, number, least in (
            ("concurrency", concurrency, 1),
            ("retries", retries, 1),
            ("conversations", conversations, 0),
        ):
            check_count(name, number, least=least)
        check_seconds("grace", grace, or_zero=True)
        check_kind("runtime", runtime, Runtime)
        self._concurrency = concurrency
        self._grace = grace
        self._retries = retries
        works: dict[TaskId, Work] = {}
        self._asks = Asks(works)
        self._shop = Workshop(runtime, self._asks)
        self.counters = Counters()
        self._adopter = Adopter(self._shop, conversations, self.counters, self._stir)
        if not (self._shop.known or self._adopter.is_on):
            raise ConfigurationError(
                "the runtime has no tool that a worker could carry out: register agents that have"
                " some, Runtime(agents=[...])"
            )
        self.tools: Mapping[str, str] = {
            key: each.tool.fingerprint for key, each in self._shop.known.items()
        }
        """What it can carry out: the fingerprint of each key."""
        self._crew = Crew(self._shop, works, self._asks, self.counters, self._stir)
        self.lost = False
        """It may have been taken for dead, and has stopped for that."""
        self.member: Member | None = None
        """As others see it; None: it has not joined."""
        self._ending = asyncio.Event()
        self._is_hurried = self._is_used = False
        self._intake: Intake | None = None
        """What the queue gives it; None: it has not joined."""
        self._over = asyncio.Event()
        """A job may be over, or wait for a person."""
        self._failure: BaseException | None = None

    # -- for the host ------------------------------------------------------------------------------

    @property
    def gauges(self) -> Gauges:
        """How it is now."""
        return Gauges(
            ready=self.member is not None and not self._ending.is_set(),
            running=self._shop.taken,
            waiting=self._crew.waiting,
            concurrency=self._concurrency,
            conversations=self._adopter.held,
        )

    @property
    def is_draining(self) -> bool:
        """It claims nothing any more."""
        return self._ending.is_set()

    async def queued(self) -> int | None:
        """How many jobs in the queue it could take, counted up to a thousand; None: it is no
        member.

        Raises:
            StoreError: They cannot be counted now.
        """
        if self.member is None:
            return None
        if not self.tools:
            return 0
        waiting = await self._queue.find(statuses=["queued"], keys=self.tools, limit=LOOKED_THROUGH)
        return len(waiting)

    def drain(self) -> None:
        """Take no more jobs, and end when those that run have, or their grace is over. A second
        time: end at once."""
        self._is_hurried = self._ending.is_set()
        self._ending.set()
        self._stir()

    async def run(self, joined: Callable[[], object] = lambda: None) -> None:
        """Work until it is drained, or `lost`. `joined` is called when it is a member.

        Raises:
            ConfigurationError: The store has no workers, or an engine that has live agents here.
            StoreError: The store cannot be reached.
        """
        if self._is_used:
            raise ConfigurationError("this worker has run: make another one")
        self._is_used = True
        if self._shop.is_shared:
            raise ConfigurationError(
                "live agents are open on this runtime's engine: give the worker a runtime of its"
                " own"
            )
        store = self._shop.lasting
        await store.start()
        membership = await store.members.join(self._member())
        self._queue: Queue = store.queue
        self._membership: Membership = membership
        peers = Peers(store.members, membership, self.counters, retries=self._retries)
        self._intake = intake = Intake(
            store.queue,
            peers,
            self._crew,
            self._asks,
            tools=self.tools,
            concurrency=self._concurrency,
        )
        self.member = membership.member
        try:
            await self._work(intake, peers, joined)
        finally:
            self.member = None
            await run_to_end(self._leave(), within=self._grace + 60.0)

    def _member(self) -> Member:
        host, pid = socket.gethostname(), os.getpid()
        return Member(
            id=f"{host}-{pid}-{os.urandom(4).hex()}",
            role="worker",
            host=host,
            pid=pid,
            started_at=self._shop.now(),
            version=version("sidetask"),
            tools=self.tools,
            concurrency=self._concurrency,
        )

    # -- at work -----------------------------------------------------------------------------------

    async def _work(self, intake: Intake, peers: Peers, joined: Callable[[], object]) -> None:
        ends = [self._crew.begin(self._queue, peers.me), self._queue.listen(intake.hear)]
        peers.hurry()
        claiming = spawn(intake.claim(self._ending), name="claiming", done=self._fell)
        others = [
            spawn(intake.watch(), name="watching", done=self._fell),
            spawn(self._mourn(), name="the lock", done=self._fell),
        ]
        if self._adopter.is_on:
            others.append(spawn(self._adopter.run(), name="adopting", done=self._fell))
        joined()
        try:
            await self._ending.wait()
            await wait_done(claiming, within=CLEANUP)
            if not self.lost:
                await self._drain()
        finally:
            self._ending.set()  # also when it is cancelled: nothing is begun any more
            self._stir()
            with suppress(TimeoutError):  # the database hangs; others find that this one is gone
                await run_to_end(self._cut_off(intake, claiming), within=3 * CLEANUP)
            await run_to_end(stop([claiming, *others], within=CLEANUP), within=2 * CLEANUP)
            for end in ends:
                end()
        if self._failure is not None:
            raise self._failure

    def _fell(self, task: asyncio.Task[None]) -> None:
        """One of its loops has ended: if by a fault, it is better to end than to stand by."""
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
            self.drain()

    def _stir(self) -> None:
        self._over.set()
        if self._intake is not None:
            self._intake.stir()

    async def _mourn(self) -> None:
        await self._membership.lost.wait()
        self.lost = self._is_hurried = self._crew.is_lost = True
        self._crew.leave("the worker lost its lock")
        self._ending.set()
        self._stir()

    # -- going -------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """Let what runs come to its end, for a while."""
        draining = replace(self._membership.member, draining=True)
        try:
            await self._membership.update(draining)
        except StoreError:
            _log.warning("others do not know that this worker drains", exc_info=True)
        self._adopter.drain()
        await self._until_idle(self._grace)

    async def _until_idle(self, within: float) -> None:
        """Wait until no job is left, and no conversation. Jobs that wait for a person, or have not
        begun, leave."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while (self._crew.jobs or self._adopter.held) and not self._is_hurried:
                    self._over.clear()
                    for work in tuple(self._crew.jobs.values()):
                        if work.waits or work.task is None:
                            work.leave(GOING)
                    await self._over.wait()

    async def _cut_off(self, intake: Intake, claiming: asyncio.Task[None]) -> None:
        await wait_done(claiming, within=CLEANUP)  # what it claimed is known then, and given back
        closing = spawn(self._adopter.close(CLEANUP), name="letting conversations go")
        await self._crew.cut_off(GOING, HURRY if self._is_hurried else CLEANUP)
        if intake.is_unsure and not self.lost:
            with suppress(StoreError):
                await intake.look_over()
        await wait_done(closing)

    async def _leave(self) -> None:
        await self._asks.close()
        await self._shop.close()
        try:
            await self._membership.leave()
        except StoreError:
            _log.warning("the members do not know yet that this one has left", exc_info=True)
