"""The gates of the API keys over several runtimes on one database: a refusal parks them all."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from sidetask import Agent, Runtime
from sidetask.agents.quota import Quota
from sidetask.agents.quota.gate import STAGGER
from sidetask.agents.quota.notes import GATES
from sidetask.core.errors import RateLimitedError, StoreUnavailableError
from sidetask.models.scripted import Script
from sidetask.stores.base import Store
from sidetask.testing import ScriptedModel, VirtualClock, running_runtime
from tests.limits import HANG
from tests.runtime.harness import beside
from tests.stores.conftest import DATABASES
from tests.stores.waiting import backend_for, until

pytestmark = pytest.mark.parametrize("url", DATABASES, indirect=True)

KEY = "scripted"
HEARD = 0.5
"""Seconds within which a hint has been followed."""


@pytest.fixture
def anyio_backend(url: str, clock: VirtualClock) -> object:
    return backend_for(url, clock)


def now() -> float:
    return asyncio.get_running_loop().time()


class Asked:
    """A model that may refuse first, and notes when each call was sent."""

    def __init__(self, *first: Script) -> None:
        self._first = list(first)
        self.times: list[float] = []
        self.model = ScriptedModel(self._answer, loop=True)

    def _answer(self, _: object) -> Any:
        self.times.append(now())
        return self._first.pop(0) if self._first else "fine"


@asynccontextmanager
async def process(url: str, quota: Quota | None = None) -> AsyncGenerator[Runtime]:
    """A runtime with gates of its own, as every process has."""
    quota = quota or Quota(jitter=lambda: 1.0)
    async with running_runtime(store=url, quota=quota) as runtime:
        first = await runtime.open(Agent(ScriptedModel()))
        await asyncio.sleep(HEARD)
        yield runtime
        for chat in runtime.live_agents:
            await chat.shutdown()
        del first


def gate(runtime: Runtime) -> tuple[float, int]:
    """For how long the key is closed, and its count."""
    status = runtime.quota.status_of(KEY)
    return (0.0, 0) if status is None else (status.opens_in, status.hits)


async def test_a_refusal_in_one_process_parks_the_agents_of_another_until_the_window_ends(
    url: str,
) -> None:
    wait, agents = (6.0, 5) if url.startswith("postgres") else (30.0, 50)
    refused, other = Asked(RateLimitedError("slow down", wait)), Asked()
    async with process(url) as one, process(url) as two:
        here = [await one.open(Agent(refused.model)) for _ in range(agents)]
        there = [await two.open(Agent(other.model)) for _ in range(agents)]
        began = now()
        begun = [await beside(here[0].ask("hi"))]
        await until(lambda: two.quota.closed_for(KEY) > 0)
        begun += [await beside(chat.ask("hi")) for chat in (*here[1:], *there)]
        for each in begun:
            assert (await each).text == "fine"
    assert len(refused.times) == agents + 1
    assert len(other.times) == agents
    # The end is told as a time of day, and read by another clock: a breath of a difference.
    assert min(other.times) >= began + wait - 0.1
    if not url.startswith("postgres"):  # on a real clock a loop that was held up hurries
        gaps = [later - sooner for sooner, later in zip(other.times, other.times[1:], strict=False)]
        assert min(gaps) >= STAGGER - 0.02


async def test_the_longest_window_stands(url: str) -> None:
    async with process(url) as one, process(url) as two:
        one.quota.record_hit(KEY, 300)
        await until(lambda: two.quota.closed_for(KEY))
        two.quota.record_hit(KEY, 1)
        two.quota.record_hit(KEY, 2)
        await until(lambda: gate(one)[1] == gate(two)[1] == 3)
        await asyncio.sleep(HEARD)
        for each in (one, two):
            assert each.quota.closed_for(KEY) == pytest.approx(300, abs=100)
        assert gate(one)[1] == gate(two)[1] == 3


async def test_windows_that_are_told_at_once_are_joined(url: str) -> None:
    async with process(url) as one, process(url) as two:
        one.quota.record_hit(KEY, 300)
        two.quota.record_hit(KEY, 1)  # neither has heard of the other
        await until(lambda: two.quota.closed_for(KEY) > 100)
        await asyncio.sleep(HEARD)
        for each in (one, two):
            assert each.quota.closed_for(KEY) == pytest.approx(300, abs=100)
            assert gate(each)[1] == 1  # they were under way together


async def test_a_process_that_starts_inside_the_window_is_parked_from_the_start(url: str) -> None:
    wait, asked = 30.0, Asked()
    async with process(url) as one:
        one.quota.record_hit(KEY, wait)
        opens_at = now() + wait
    async with (
        running_runtime(store=url, quota=Quota()) as two,
        two.open(Agent(asked.model)) as chat,
    ):
        assert two.quota.closed_for(KEY) > 0
        if url.startswith("postgres"):  # nobody waits so long on a real clock
            return
        await chat.ask("hi")
    assert asked.times[0] >= opens_at - 0.1


async def test_a_success_resets_the_count_of_all(url: str) -> None:
    async with process(url) as one, process(url) as two:
        for _ in range(3):
            one.quota.record_hit(KEY, 100)
        await until(lambda: gate(two)[1] == 3)
        two.quota.record_hit(KEY)
        await until(lambda: gate(one)[1] == 4)
        one.quota.record_success(KEY, one.quota.ticket())
        await until(lambda: gate(two)[1] == 0)
        left = two.quota.closed_for(KEY)
        assert left == pytest.approx(100, abs=60)  # the window is as it was
        two.quota.record_hit(KEY, 1)
        assert gate(two)[1] == 1


async def test_a_call_that_was_under_way_when_others_were_refused_counts_no_further(
    url: str,
) -> None:
    async with process(url) as one, process(url) as two:
        ticket = two.quota.ticket()
        one.quota.record_hit(KEY, 100)
        await until(lambda: gate(two)[1] == 1)
        two.quota.record_hit(KEY, 100, ticket=ticket)
        two.quota.record_success(KEY, ticket)
        assert gate(two)[1] == 1


async def test_while_the_database_is_away_each_process_has_its_own_gate(url: str) -> None:
    async with process(url) as one, process(url) as two:
        store: Any = cast(Any, one)._store
        get = store.get

        async def away(*_: object) -> None:
            raise StoreUnavailableError("it is away", "wait")

        store.get = away
        one.quota.record_hit(KEY, 600)
        await asyncio.sleep(HEARD)
        assert one.quota.closed_for(KEY) > 300
        assert two.quota.closed_for(KEY) == 0
        store.get = get
        await until(lambda: two.quota.closed_for(KEY) > 300)


async def test_a_key_in_no_trouble_is_not_written_down_and_a_burst_is_told_once(
    url: str, opened: Callable[[], Store]
) -> None:
    async with process(url) as one:
        chat = await one.open(Agent(ScriptedModel("fine", loop=True)))
        await chat.ask("hi")
        store = opened()
        assert list(await store.find(GATES)) == []
        for seconds in range(20):
            one.quota.record_hit(KEY, seconds)
        async with asyncio.timeout(HANG):
            while not await store.find(GATES):  # noqa: ASYNC110 - a store tells nobody
                await asyncio.sleep(HEARD)
        await asyncio.sleep(HEARD)
        [record] = await store.find(GATES)
        assert record.conversation_id == f"gate:{KEY}"
        assert int(record.status) <= 3
