"""One run for all who ask for the same at the same time.

A shared run is nobody's child: it outlives whoever asked first. It takes no permit, for those
who wait for it hold theirs, and could else hold all there are.
"""

import asyncio
from collections.abc import Hashable

from sidetask.core.jsons import Json
from sidetask.core.routing import TaskPolicy
from sidetask.orchestration.calling import value_of
from sidetask.orchestration.invoker import Launching, Run, Tasks, place
from sidetask.tasks.aio.spawn import run_to_end
from sidetask.tasks.handle import TaskHandle


class Sharing:
    """The runs of one resolver that are under way, by what was asked for."""

    def __init__(self) -> None:
        self._runs: dict[Hashable, Shared] = {}

    def find(self, key: Hashable) -> "Shared | None":
        """The run to join, if there is one that is not being stopped."""
        found = self._runs.get(key)
        return None if found is None or found.handle.stopping else found

    def start(self, key: Hashable, run: Run, tasks: Tasks, timeout: float | None) -> "Shared":
        """Start a run of its own. Raises as `call` does."""
        invoker, _ = place(tasks)
        policy = TaskPolicy(control=True, timeout=timeout)
        handle = invoker.start(run, Launching(policy=policy))
        return self.keep(key, run, handle)

    def keep(self, key: Hashable, run: Run, handle: TaskHandle) -> "Shared":
        """Share a run that was started, until its end."""
        shared = Shared(run, handle)
        if run.resolution is not None:
            return shared
        self._runs[key] = shared
        told = run.on_end

        def ended(run: Run) -> None:
            self.forget(key, shared)
            if told is not None:
                told(run)

        run.on_end = ended
        return shared

    def forget(self, key: Hashable, shared: "Shared") -> None:
        if self._runs.get(key) is shared:
            del self._runs[key]

    async def wait(self, key: Hashable, shared: "Shared") -> Json:
        """The value of a shared run. Who is cancelled leaves it to the others; the last one
        stops it, and waits until it has stopped."""
        shared.askers += 1
        try:
            resolution = await shared.handle.wait()
        except asyncio.CancelledError:
            if shared.askers == 1:
                # Nobody joins from now on: it is ending.
                self.forget(key, shared)
                shared.handle.cancel("nobody waits for it any more")
                grace = shared.handle.snapshot().policy.grace
                await run_to_end(shared.handle.wait(), within=grace + 1)
            raise
        finally:
            shared.askers -= 1
        return value_of(shared.run, resolution)


class Shared:
    """A run, and how many wait for it."""

    __slots__ = ("askers", "handle", "run")

    def __init__(self, run: Run, handle: TaskHandle) -> None:
        self.run = run
        self.handle = handle
        self.askers = 0
        """A host that dispatched it counts as one, until its end."""
