"""Dispatchers, batches, pipelines and resolvers at random: whatever happens, nothing is left."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from sidetask.core.errors import DuplicateTaskError, ManagerClosedError, TooManyTasksError
from sidetask.core.jsons import Json
from sidetask.orchestration import Resolver, as_agent, batch, sequence
from sidetask.state import StateView
from sidetask.tasks.handle import TaskHandle
from sidetask.testing import VirtualClock
from tests.orchestration.fleet import Fleet, fleet

ENDS = {"succeeded", "failed", "cancelled", "timed_out"}
REFUSED = (DuplicateTaskError, ManagerClosedError, TooManyTasksError)


class Chaos:
    """What is asked of a dispatcher, and what its agents do."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.agent = as_agent(self.work)
        self.at_work = self.most = 0
        self._rates = Resolver.fetch("rates", self._fetch, dedupe=True, timeout=2)

    async def work(self, input: Json, state: StateView) -> Json:
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        ways: list[Callable[[StateView], Awaitable[Json]]] = [
            self._rates,
            self._in_a_batch,
            self._in_a_pipeline,
            self._reluctantly,
        ]
        try:
            return await self.random.choice(ways)(state)
        finally:
            self.at_work -= 1

    async def _nap(self, most: float) -> None:
        await asyncio.sleep(self.random.random() * most)

    async def _fetch(self, state: StateView) -> str:
        await self._nap(3)
        return "rates"

    async def _part(self, input: Json) -> str:
        await self._nap(1)
        if self.random.random() < 0.2:
            raise KeyError("no luck")
        return "part"

    async def _in_a_pipeline(self, state: StateView) -> Json:
        return await sequence(as_agent(self._part), as_agent(self._part)).invoke(None, state)

    async def _in_a_batch(self, state: StateView) -> Json:
        async with batch(cap=1, state=state) as b:
            b.dispatch(as_agent(self._part))
            b.dispatch(as_agent(self._part), timeout=0.5)
        return len(b.results)

    async def _reluctantly(self, state: StateView) -> Json:
        try:
            await self._nap(4)
        except asyncio.CancelledError:
            await self._nap(4)
            raise
        return "in the end"

    async def ask(self, f: Fleet) -> list[TaskHandle]:
        """Ask for this and that; gives what was started."""
        handles: list[TaskHandle] = []
        asked: list[asyncio.Future[TaskHandle]] = []
        for i in range(50):
            name = f"run-{self.random.randrange(6)}"
            match self.random.randrange(6):
                case 0 | 1:
                    timeout = self.random.choice([None, 1.5])
                    with suppress(*REFUSED):
                        handles.append(f.agents.dispatch(name, self.agent, timeout=timeout))
                case 2:
                    submitted = f.agents.submit(name, self.agent, input=i)
                    asked.append(asyncio.ensure_future(submitted))
                case 3:
                    f.agents.cancel(name)
                case 4 if asked:
                    self.random.choice(asked).cancel()
                case _:
                    await self._nap(2)
        await f.agents.close(cancel=self.random.random() < 0.5)
        for each in asked:
            await asyncio.wait({each})
            if not each.cancelled() and not isinstance(each.exception(), REFUSED):
                handles.append(each.result())
        return handles


@pytest.mark.parametrize("chaos", range(12))
@pytest.mark.parametrize("on_duplicate", ["allow", "reject", "replace", "join"])
async def test_whatever_is_asked_all_of_it_ends_and_nothing_is_left(
    clock: VirtualClock, chaos: int, on_duplicate: str
) -> None:
    made = Chaos(chaos)
    cap, room = made.random.randint(1, 3), made.random.choice([0, 1, 4])
    full = made.random.choice(["reject", "drop_oldest"])
    options = {"max_queue": room, "on_full": full, "on_duplicate": on_duplicate}
    async with fleet(clock, cap, **options) as f:
        handles = await made.ask(f)
        assert {str(handle.status) for handle in handles} <= ENDS
        assert (made.most <= cap, made.at_work) == (True, 0)
        kept = f.state.snapshot()
        names = {key.rpartition(":")[0] for key in kept}
        for name in names:
            status = kept[f"{name}:status"]
            assert status in ENDS
            assert (f"{name}:result" in kept) == (status == "succeeded")
            assert (f"{name}:error" in kept) == (status in ("failed", "timed_out"))
