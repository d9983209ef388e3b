"""An event loop that runs what is ready in an order drawn from a seed: it finds lost races.

In each iteration everything that is ready is shuffled: steps of tasks, callbacks of futures,
timers that are due. What asyncio promises, and what its own code stands on, stays in order:

* An iteration ends before the callbacks that it made begin.
* The callbacks of one future, wake-ups of its waiters among them, run as they were added.
* Timers run by their time; those of the same time are shuffled.
* What was given to `call_soon` and `call_soon_threadsafe` is called in that order, and before
  any step or future's callback that became ready after it. Transports need it (they call
  `connection_made`, then read, then wake the waiter), and `StreamWriter.drain`, which lets
  `connection_lost` run by a `sleep(0)`.

Sets whose order depends on addresses, asyncio's own among them (`asyncio.wait`, `TaskGroup`
when it cancels), and threads may make two runs of one seed differ.
"""

import asyncio
import random
from asyncio import AbstractEventLoop
from collections import deque
from operator import itemgetter, methodcaller
from typing import TypeGuard, cast

from sidetask.testing.clock import VirtualClock, VirtualLoop

_TIMER = "timer"
_PLAIN = "plain callback"


class ShuffledClock(VirtualClock):
    """A virtual clock whose loops run what is ready in an arbitrary order."""

    def __init__(self, seed: int, *, patience: float = 10.0) -> None:
        super().__init__(patience=patience)
        self.seed = seed

    def new_loop(self) -> AbstractEventLoop:
        return ShuffledLoop(self, self.seed)


class ShuffledLoop(VirtualLoop):
    """An event loop on a virtual clock that shuffles its ready queue in every iteration."""

    # Both names are asyncio's, private, and the same in Python 3.8 to 3.14.
    _ready: deque[asyncio.Handle]

    def __init__(self, clock: VirtualClock, seed: int) -> None:
        super().__init__(clock)
        self.seed = seed
        self._batches = _Batches(random.Random(seed))
        self._ready = self._batches

    def _run_once(self) -> None:
        self._batches.begin()
        super()._run_once()  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]

    def __repr__(self) -> str:
        return f"<ShuffledLoop seed={self.seed} {super().__repr__()}>"


class _Batches(deque[asyncio.Handle]):
    """A ready queue. An iteration takes as many handles as there are when it takes the first:
    due timers and I/O have joined by then, and what the handles add comes behind."""

    def __init__(self, random: random.Random) -> None:
        super().__init__()
        self._random = random
        self._is_shuffled = False

    def begin(self) -> None:
        self._is_shuffled = False

    def popleft(self) -> asyncio.Handle:
        if not self._is_shuffled:
            self._is_shuffled = True
            # One by one: other threads append meanwhile, and nothing of theirs may get lost.
            take = super().popleft
            batch = [take() for _ in range(len(self))]
            self.extendleft(reversed(shuffled(batch, self._random)))
        return super().popleft()


def shuffled(handles: list[asyncio.Handle], random: random.Random) -> list[asyncio.Handle]:
    """The handles in an arbitrary order that keeps what the module promises."""
    chains = [_chain(handle) for handle in handles]
    places = _places(chains, random)
    members: dict[object, deque[asyncio.Handle]] = {}
    for chain, handle in zip(chains, handles, strict=True):
        members.setdefault(chain, deque()).append(handle)
    timers = list(members.get(_TIMER, ()))
    random.shuffle(timers)
    timers.sort(key=methodcaller("when"))  # stable: timers of one time stay shuffled
    members[_TIMER] = deque(timers)
    # Each chain fills its own places in its own order. That moves nobody across a fence: behind
    # it are as many places of the chain as there are members that have to be there.
    return [members[chain].popleft() for _, chain in sorted(places, key=itemgetter(0))]


def _places(chains: list[object], random: random.Random) -> list[tuple[float, object]]:
    """A place between 0 and 1 for each: plain callbacks in order, as fences to what follows."""
    fences = iter(sorted(random.random() for chain in chains if chain is _PLAIN))
    fence = 0.0
    places: list[tuple[float, object]] = []
    for chain in chains:
        if chain is _PLAIN:
            fence = next(fences)
            places.append((fence, chain))
        else:
            places.append((random.uniform(0.0 if chain is _TIMER else fence, 1.0), chain))
    return places


def _chain(handle: asyncio.Handle) -> object:
    """What the handle must keep its order with: everything that has the same chain."""
    if isinstance(handle, asyncio.TimerHandle):
        return _TIMER
    # asyncio tells only in private what a handle is for, and forgets it when it is cancelled.
    match handle._args:  # noqa: SLF001
        case (subject,) if _is_future(subject) and subject.done():
            return subject  # one of its callbacks, or the wake-up of a task that awaits it
        case _:
            callback = cast(object, handle._callback)  # noqa: SLF001
            owner: object = getattr(callback, "__self__", None)
            return owner if _is_task(owner) else _PLAIN


def _is_future(thing: object) -> TypeGuard["asyncio.Future[object]"]:
    return isinstance(thing, asyncio.Future)


def _is_task(thing: object) -> TypeGuard["asyncio.Task[object]"]:
    return isinstance(thing, asyncio.Task)
