"""Adoption: a worker takes up a conversation that has something to do and no living home.

    nobody has it -> adopted -> open -> idle, for a while -> let go
       |               |         |
       |               |         +-> a user's process wants it, or the worker drains: let go;
       |               |         |   what this cuts off is an order for who has it next
       |               |         +-> another process has it: dropped, nothing of it is written
       |               +-> it cannot be opened: let go, and tried again after a pause
       +-> somebody else was quicker: nothing

* What there is to do is found by one question to the store: `Members.forsaken`. It is asked when
  another process has written something, and every `LOOK` seconds, since nothing tells of a death.
  A conversation with nothing to do is not opened, and costs nothing.
* Of a process that looks dead the connection may only have broken: it has `GRACE` seconds to join
  again. Who let go in order has left nothing running, and is not waited for.
* Who has it is decided by one `swap`: see `tasks.owning`. What two workers have died of is adopted
  as the only one of its sort in a worker, so that a third death takes no others along with it; then
  it is left alone, until a user's process opens it.
* An adopted conversation is one that was resumed: its budget goes on where it was, results begin at
  most `max_auto_turns` in a row, and it has no triggers. A turn that a death has cut off is gone on
  with.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from sidetask.core.errors import AgentNotStartedError, StoreError
from sidetask.core.ids import ConversationId
from sidetask.runtime.driver import Driver
from sidetask.runtime.handle import AgentHandle
from sidetask.stores.members import NOBODY, Forsaken
from sidetask.tasks.aio.spawn import run_to_end, spawn, stop
from sidetask.tasks.owning import TAKINGS, Owning
from sidetask.worker.counters import Counters
from sidetask.worker.workshop import Workshop

CONVERSATIONS = 100
"""That a worker has at once, if nothing else is said."""
LOOK = 0.5
"""Seconds between two looks, if nothing hints at a change."""
BREATH = 0.2
"""Seconds between two looks at least; and ten times as long as a look takes."""
GRACE = 0.7
"""Seconds that a process which looks dead has to join again."""
LINGER = 5.0
"""Seconds that a conversation is held after it has become idle: who chats says more soon."""
SETTLED = 1.0
"""Seconds that it is idle until it is known that nobody dies of it."""
PAUSES = (5.0, 300.0)
"""Seconds until what could not be opened is tried again, at first and at most."""
AGAIN = 1.0
"""Seconds until a store that was away is asked again to take what is to be let go."""
CLEANUP = 10.0
"""Seconds that letting go may take at the end."""
MORE = 20
"""So many more than there is room for are looked at: some have to wait."""

_log = logging.getLogger(__name__)


class Adopter:
    """Holds up to `most` conversations that nobody else has open."""

    def __init__(
        self, shop: Workshop, most: int, counters: Counters, stir: Callable[[], None]
    ) -> None:
        """`stir` is called when there is one less."""
        self._shop = shop
        self._most = most
        self._counters = counters
        self._stir = stir
        self._store = shop.lasting
        self._owning = shop.owning
        self._joined = False
        self._wards: dict[ConversationId, Ward] = {}
        self._caring: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._dead_since: dict[str, float] = {}
        """When members that had something open were first seen to be dead."""
        self._failed: dict[ConversationId, tuple[float, float]] = {}
        """Until when what could not be opened is left alone, and the pause that this is."""
        self._ending = False

    @property
    def is_on(self) -> bool:
        """It adopts: it may, and others can see what it has open."""
        return self._most > 0 and self._owning is not None and bool(self._shop.names)

    @property
    def held(self) -> int:
        """How many it has."""
        return len(self._wards)

    # -- looking -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look for such conversations, until it is drained."""
        ends = [self._store.listen(self._heard), self._store.queue.listen(self._heard_of_jobs)]
        clock = asyncio.get_running_loop()
        try:
            while not self._ending:
                self._woken.clear()
                began, pause = clock.time(), LOOK
                try:
                    pause = await self._look(self._most - len(self._wards))
                except StoreError as error:
                    _log.warning("what has no home is not known: %s", error)
                breath = max(BREATH, 10 * (clock.time() - began))
                await asyncio.sleep(breath)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause - breath):
                        await self._woken.wait()
        finally:
            for end in ends:
                end()

    def _heard(self, which: ConversationId | None) -> None:
        ward = None if which is None else self._wards.get(which)
        if ward is None:
            self._woken.set()
        for each in self._wards.values() if which is None else [ward] if ward else []:
            each.hint()

    def _heard_of_jobs(self, job_id: str | None) -> None:
        if job_id is None:  # somebody has come or gone
            self._woken.set()

    async def _look(self, room: int) -> float:
        """Adopt what is to be adopted; returns when to look again, in seconds.

        Raises:
            StoreError: It cannot be asked.
        """
        pause = LOOK
        if room <= 0:
            return pause
        now = asyncio.get_running_loop().time()
        found = await self._store.members.forsaken(self._shop.names, limit=room + MORE)
        dead = {each.had_by for each in found} - {NOBODY}
        self._dead_since = {id: self._dead_since.get(id, now) for id in dead}
        self._failed = {key: each for key, each in self._failed.items() if each[0] > now - each[1]}
        for each in found:
            wait = self._dead_since.get(each.had_by, now - GRACE) + GRACE - now
            wait = max(wait, self._failed.get(each.conversation_id, (now, 0.0))[0] - now)
            if wait > 0:
                pause = min(pause, wait)
            elif each.conversation_id not in self._wards and room > 0 and not self._ending:
                room -= await self._take(each)
        return pause

    async def _take(self, found: Forsaken) -> bool:
        assert self._owning is not None
        if not self._joined:
            await self._shop.be_seen()
            self._joined = True
        key = found.conversation_id
        if not await self._owning.adopt(found, alone=not self._has_risk):
            return False
        self._counters.adopted += 1
        ward = self._wards[key] = Ward(key, self._owning)
        name = f"adopted {key}"
        self._caring.add(spawn(self._care(ward), name=name, done=self._caring.discard))
        return True

    @property
    def _has_risk(self) -> bool:
        assert self._owning is not None
        return any(self._owning.takings(key) >= TAKINGS for key in self._wards)

    # -- having ------------------------------------------------------------------------------------

    async def _care(self, ward: "Ward") -> None:
        assert self._owning is not None
        key = ward.key
        try:
            chat, driver = await self._shop.adopt(key)
            self._failed.pop(key, None)
            try:
                await ward.until_done(driver)
            finally:
                await ward.let_go(chat)
        except Exception as error:  # noqa: BLE001 - the one boundary: one that cannot be opened harms no other
            pause = min(2 * self._failed.get(key, (0, PAUSES[0] / 2))[1], PAUSES[1])
            self._failed[key] = asyncio.get_running_loop().time() + pause, pause
            self._counters.unopened += 1
            _log.warning("%s is left alone for %g s: %s", key, pause, error, exc_info=True)
        finally:
            await self._owning.leave(key, failed=True)  # if that was not done
            del self._wards[key]
            self._woken.set()
            self._stir()

    # -- going -------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Adopt nothing more, and let go of each conversation when no turn of it runs."""
        self._ending = True
        self._woken.set()
        for each in tuple(self._wards.values()):
            each.drain()

    async def close(self, within: float) -> None:
        """Let go of what there is at once."""
        self._ending = True
        self._woken.set()
        for each in tuple(self._wards.values()):
            each.hurry()
        if self._caring:
            await asyncio.wait(tuple(self._caring), timeout=within)
        await stop(tuple(self._caring), within=1.0)


class Ward:
    """One conversation that was adopted."""

    def __init__(self, key: ConversationId, owning: Owning) -> None:
        self.key = key
        self._driver: Driver | None = None
        self._owning = owning
        self._is_hinted = True  # somebody may have wanted it while it was being opened
        self._drains = self._hurries = False
        self._is_lost = False

    def hint(self) -> None:
        """Another process has written to it."""
        self._is_hinted = True
        self.obey()

    def drain(self) -> None:
        """Let it go when no turn runs."""
        self._drains = True
        self.obey()

    def hurry(self) -> None:
        """Let it go."""
        self._hurries = True
        self.obey()

    def obey(self) -> None:
        """Let whoever cares for it look."""
        if self._driver is not None:
            self._driver.wake()

    async def until_done(self, driver: Driver) -> None:
        """Return when it is to be let go."""
        self._driver, clock = driver, asyncio.get_running_loop()
        rests_since: float | None = None
        went_well = False
        while not (self._hurries or (self._drains and not driver.driven) or driver.closed):
            if self._is_hinted:
                self._is_hinted = False
                if not await self._may_stay():
                    return
                continue
            rests_since = (rests_since or clock.time()) if driver.is_idle else None
            left = None
            if rests_since is not None:
                left = rests_since + (LINGER if went_well else SETTLED) - clock.time()
                if left <= 0 and went_well:
                    return
                if left <= 0:
                    went_well = True
                    with suppress(StoreError):  # then this was a taking like those before
                        await self._owning.went_well(self.key)
                    continue
            turns = driver.admitted
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await driver.changed()
            if driver.admitted > turns:
                rests_since = None

    async def _may_stay(self) -> bool:
        try:
            standing = await self._owning.stands(self.key)
        except StoreError:
            self._is_hinted = True
            await asyncio.sleep(BREATH)
            return True
        self._is_lost = standing == "lost"
        return standing == "ours"

    async def let_go(self, chat: AgentHandle) -> None:
        """Keep it for who has it next; or write nothing of it, if somebody has it already."""
        while not (self._is_lost or (self._driver is not None and self._driver.is_taken)):
            try:
                await chat.disconnect()
            except AgentNotStartedError:
                return  # somebody here has ended it
            except StoreError:  # it is away; at the end nothing more can be done about that
                self._is_lost = self._hurries
                await asyncio.sleep(AGAIN)
            else:
                return
        chat.give_up()
        with suppress(StoreError):
            await run_to_end(chat.shutdown(), within=CLEANUP)
