"""The gate of one API key: who may call now, and who waits, in which order.

It is open until a provider says *too many*. Then nobody passes before the window's end, which
only ever moves later. Those who waited pass one by one, foreground before background, each in
the order of coming. The first in line sleeps until it is its turn, the others until they give
up; whoever leaves the line, through the gate or by giving up, wakes the next first.

Agents of several event loops (threads) share a gate: a lock guards it, no wait happens under
it, and waking crosses loops the safe way.
"""

import asyncio
import time
from contextlib import suppress
from itertools import chain
from threading import Lock

from sidetask.agents.quota.pace import Pace
from sidetask.core.errors import QuotaExceededError
from sidetask.core.ids import value
from sidetask.tasks.aio.tokens import CancelToken

STAGGER = 0.05
"""Seconds between two that were parked, when the window has ended."""
FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 120.0
"""Seconds: a backoff doubles from the first to the longest."""
_DOUBLINGS = 7
"""1 s doubled seven times is beyond the longest: further hits need no arithmetic."""
_LONGEST_TIMER = 86_400.0
"""Seconds; loops refuse timers of years, and of `max_wait=math.inf`."""
_ALMOST = 1e-6
"""Seconds; a timer may fire a rounding error early."""


@value(kw_only=True)
class GateStatus:
    """A gate as it was at one moment."""

    key: str
    """The digest of the API key; never the key."""
    opens_in: float
    """Seconds; 0: it is open."""
    hits: int
    """Times in a row that the provider refused."""
    waiting: int
    """Calls in line, background ones included."""
    waiting_background: int


class Waiter:
    """One call in line."""

    __slots__ = ("_loop", "_sleep", "background", "deadline")

    def __init__(self, *, background: bool, deadline: float) -> None:
        self.background = background
        self.deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._sleep: asyncio.Future[None] | None = None

    async def sleep(self, seconds: float) -> None:
        """Sleep until woken, or until `seconds` have passed."""
        self._sleep = sleep = self._loop.create_future()
        timer = self._loop.call_later(min(seconds, _LONGEST_TIMER), self.wake)
        try:
            await sleep
        finally:
            self._sleep = None
            timer.cancel()

    def wake(self) -> None:
        """Wake it; in its own loop's thread."""
        if self._sleep is not None and not self._sleep.done():
            self._sleep.set_result(None)

    def wake_soon(self) -> None:
        """Wake it, from any thread."""
        with suppress(RuntimeError):  # its loop was closed: there is nobody to wake
            self._loop.call_soon_threadsafe(self.wake)

    @property
    def is_gone(self) -> bool:
        """Its loop was closed under it: it will never wake, and never leave the line."""
        return self._loop.is_closed()


class Gate:
    """One key's window, line, and pace."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._lock = Lock()
        self._front: dict[Waiter, None] = {}  # ordered, and leaving it is cheap
        self._back: dict[Waiter, None] = {}
        self._opens_at = 0.0
        self._next_parked = 0.0
        self._hits = 0
        self._last_hit = 0
        self.requests: Pace | None = None
        self.tokens: Pace | None = None

    # -- passing -----------------------------------------------------------------------------

    async def enter(
        self, *, background: bool, max_wait: float, token: CancelToken | None = None
    ) -> bool:
        """Pass, now or when it is this call's turn; False: the token was cancelled.

        Raises:
            QuotaExceededError: It would take longer than `max_wait` seconds.
        """
        waiter = Waiter(background=background, deadline=now() + max_wait)
        with self._lock:
            if self._first() is None and self._try_pass(waiter, parked=False):
                return True
            (self._back if background else self._front)[waiter] = None
        if token is not None:
            token.listen(waiter.wake)
        try:
            return await self._wait_in_line(waiter, token)
        finally:
            if token is not None:
                token.unlisten(waiter.wake)
            self._leave(waiter)

    async def _wait_in_line(self, waiter: Waiter, token: CancelToken | None) -> bool:
        while token is None or not token.is_cancelled:
            with self._lock:
                first = self._first() is waiter
                if first and self._try_pass(waiter, parked=True):
                    return True
                wait = self._ready_at(parked=True) - now()
            left = waiter.deadline - now()
            if wait > left:
                raise QuotaExceededError(self._key, max(wait, STAGGER))
            await waiter.sleep(max(wait, _ALMOST) if first else left + _ALMOST)
        return False

    def _try_pass(self, waiter: Waiter, *, parked: bool) -> bool:
        at = now()
        if self._ready_at(parked=parked) > at + _ALMOST:
            return False
        if parked:
            self._next_parked = at + STAGGER
        if self.requests is not None:
            self.requests.take(1, at)
        return True

    def _ready_at(self, *, parked: bool) -> float:
        at = now()
        ready = max(self._opens_at, self._next_parked if parked else 0.0)
        if self.requests is not None:
            ready = max(ready, self.requests.ready_at(1, at))
        if self.tokens is not None:
            ready = max(ready, self.tokens.ready_at(1, at))
        return ready

    def _first(self) -> Waiter | None:
        first = next(chain(self._front, self._back), None)
        while first is not None and first.is_gone:
            (self._back if first.background else self._front).pop(first)
            first = next(chain(self._front, self._back), None)
        return first

    def _leave(self, waiter: Waiter) -> None:
        with self._lock:
            (self._back if waiter.background else self._front).pop(waiter, None)
            first = self._first()
        if first is not None:
            first.wake_soon()

    # -- what calls came to ------------------------------------------------------------------

    def hit(self, number: int, ticket: int | None, *, at_least: float, jitter: float) -> float:
        """The provider refused: hit `number` of all keys. The gate opens in the longer of
        `at_least` seconds and the backoff, of which `jitter` is the part that counts. Returns
        how many seconds are left.

        Calls that were under way together are refused together: those that passed before the
        last hit (their `ticket` is older) may move the window, and count no further.
        """
        with self._lock:
            if ticket is None or ticket >= self._last_hit:
                self._hits += 1
                self._last_hit = number
            backoff = _backoff(self._hits) * jitter
            woken = self._extend(now() + max(backoff, at_least))
        _wake(woken)
        return self.closed_for

    def take(self, number: int, *, opens_in: float, hits: int | None) -> None:
        """What another process knows: a window, in seconds, and how many hits there were (None:
        not to be counted). More than were known are hit `number` of all keys: those that passed
        before it was heard of count no further."""
        with self._lock:
            if hits is not None:
                if hits > self._hits:
                    self._last_hit = number
                self._hits = hits
            woken = self._extend(now() + opens_in)
        _wake(woken)

    def _extend(self, opens_at: float) -> list[Waiter]:
        """Move the window's end, which only gets later. Returns who is to look again."""
        if opens_at <= self._opens_at + _ALMOST:
            return []
        self._opens_at = opens_at
        return [*self._front, *self._back]

    def succeeded(self, ticket: int, tokens: int) -> bool:
        """A call was answered. Returns whether that has ended a row of hits."""
        with self._lock:
            ends = self._hits > 0 and ticket >= self._last_hit
            if ends:
                self._hits = 0
            if self.tokens is not None and tokens:
                self.tokens.take(tokens, now())
            return ends

    # -- looking -----------------------------------------------------------------------------

    @property
    def is_needed(self) -> bool:
        """Whether it remembers anything: a window, hits, a line, or a pace."""
        paced = self.requests is not None or self.tokens is not None
        return bool(paced or self._hits or self._front or self._back or self.closed_for)

    @property
    def closed_for(self) -> float:
        """Seconds until the window ends; 0: it has."""
        return max(0.0, self._opens_at - now())

    def status(self) -> GateStatus:
        with self._lock:
            return GateStatus(
                key=self._key,
                opens_in=self.closed_for,
                hits=self._hits,
                waiting=len(self._front) + len(self._back),
                waiting_background=len(self._back),
            )


def now() -> float:
    """Seconds of the running loop's clock, by which its timers go. All loops of a process have
    the same one, as long as no virtual clock is among them."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:  # a host's own call, from outside any loop
        return time.monotonic()


def _wake(waiters: list[Waiter]) -> None:
    for waiter in waiters:  # each looks whether it still wants to wait that long
        waiter.wake_soon()


def _backoff(hits: int) -> float:
    return min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(max(hits - 1, 0), _DOUBLINGS))
