"""The gate of an API key, on a virtual clock."""

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from threading import Thread

import pytest
from tests.limits import HANG

from sidetask.agents.quota import Quota
from sidetask.agents.quota.gate import LONGEST_BACKOFF, STAGGER
from sidetask.core.errors import ConfigurationError, QuotaExceededError
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.testing import VirtualClock


@pytest.fixture
def quota() -> Quota:
    return Quota(jitter=lambda: 1.0)


class Crowd:
    """Calls that wait at a gate, and when each passed, in seconds of the clock."""

    def __init__(self, quota: Quota, clock: VirtualClock, group: asyncio.TaskGroup) -> None:
        self._quota = quota
        self._clock = clock
        self._group = group
        self.passed: list[tuple[str, float]] = []

    def add(self, name: str, *, key: str = "k", background: bool = False) -> asyncio.Task[None]:
        return self._group.create_task(self._pass(name, key, background=background))

    async def _pass(self, name: str, key: str, *, background: bool) -> None:
        await self._quota.wait(key, background=background)
        self.passed.append((name, self._clock.time()))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.passed]

    @property
    def times(self) -> list[float]:
        return [time for _, time in self.passed]


@asynccontextmanager
async def crowd(quota: Quota, clock: VirtualClock) -> AsyncGenerator[Crowd]:
    async with asyncio.TaskGroup() as group:
        yield Crowd(quota, clock, group)


async def test_an_open_gate_holds_nobody_and_remembers_nothing(quota: Quota) -> None:
    ticket = await quota.wait("k")
    assert ticket is not None
    quota.record_success("k", ticket)
    assert quota.status() == []


async def test_a_hundred_wait_for_the_window_and_leave_one_by_one(
    quota: Quota, clock: VirtualClock
) -> None:
    quota.record_hit("k", 30)
    async with crowd(quota, clock) as calls:
        for number in range(100):
            calls.add(f"call-{number}")
    assert calls.names == [f"call-{number}" for number in range(100)]
    assert calls.times[0] == pytest.approx(30)
    gaps = [later - sooner for sooner, later in zip(calls.times, calls.times[1:], strict=False)]
    assert gaps == pytest.approx([STAGGER] * 99)


async def test_another_key_is_untouched(quota: Quota, clock: VirtualClock) -> None:
    quota.record_hit("k", 30)
    await quota.wait("other")
    assert clock.time() == 0


async def test_foreground_goes_before_background_whoever_came_first(
    quota: Quota, clock: VirtualClock
) -> None:
    quota.record_hit("k", 30)
    async with crowd(quota, clock) as calls:
        for number in range(3):
            calls.add(f"back-{number}", background=True)
        await asyncio.sleep(1)
        for number in range(3):
            calls.add(f"front-{number}")
    assert calls.names == ["front-0", "front-1", "front-2", "back-0", "back-1", "back-2"]


async def test_a_window_only_extends(quota: Quota, clock: VirtualClock) -> None:
    quota.record_hit("k", 300)
    quota.record_hit("k", 1)
    await quota.wait("k")
    assert clock.time() == pytest.approx(300)


async def test_who_waits_already_waits_for_a_window_that_was_extended(
    quota: Quota, clock: VirtualClock
) -> None:
    quota.record_hit("k", 10)
    async with crowd(quota, clock) as calls:
        calls.add("a")
        await asyncio.sleep(5)
        quota.record_hit("k", 20)
    assert calls.times == pytest.approx([25])


async def test_backoff_doubles_and_never_passes_its_bound(quota: Quota) -> None:
    waits: list[float] = []
    for _ in range(64):
        ticket = await quota.wait("k")
        waits.append(quota.record_hit("k", ticket=ticket))
    assert waits[:8] == pytest.approx([1, 2, 4, 8, 16, 32, 64, 120])
    assert max(waits) == pytest.approx(LONGEST_BACKOFF)


async def test_jitter_takes_half_of_the_backoff_at_most() -> None:
    quota = Quota(jitter=lambda: 0.0)
    assert quota.record_hit("k") == pytest.approx(0.5)


async def test_calls_that_were_under_way_together_count_once(
    quota: Quota, clock: VirtualClock
) -> None:
    tickets = [await quota.wait("k") for _ in range(50)]
    for ticket in tickets:
        quota.record_hit("k", ticket=ticket)
    assert quota.status()[0].hits == 1
    assert quota.closed_for("k") == pytest.approx(1)


async def test_a_success_begins_anew_and_drops_the_gate(quota: Quota, clock: VirtualClock) -> None:
    old = await quota.wait("k")
    assert old is not None
    quota.record_hit("k", ticket=old)
    quota.record_success("k", old)  # it was sent before the refusal and says nothing about now
    assert quota.status()[0].hits == 1
    ticket = await quota.wait("k")
    assert ticket is not None
    quota.record_success("k", ticket)
    assert quota.status() == []


@pytest.mark.parametrize("retry_after", [math.nan, math.inf, -5.0, 0.0])
async def test_a_retry_after_that_makes_no_sense_is_a_backoff(
    quota: Quota, retry_after: float
) -> None:
    quota.record_hit("k", retry_after)
    assert quota.closed_for("k") == pytest.approx(1)


async def test_a_wait_beyond_the_longest_is_refused_at_once(
    quota: Quota, clock: VirtualClock
) -> None:
    quota.record_hit("k", 601)
    with pytest.raises(QuotaExceededError) as told:
        await quota.wait("k")
    assert told.value.retry_after == pytest.approx(601)
    assert clock.time() == 0
    assert quota.status()[0].waiting == 0


async def test_an_extension_beyond_the_longest_wait_ends_the_wait_at_once(
    quota: Quota, clock: VirtualClock
) -> None:
    quota.record_hit("k", 10)
    waiting = [asyncio.ensure_future(quota.wait("k", background=b)) for b in (False, True)]
    await asyncio.sleep(1)
    quota.record_hit("k", 700)
    for each in waiting:
        with pytest.raises(QuotaExceededError):
            await each
    assert clock.time() == pytest.approx(1)


async def test_a_cancelled_token_ends_the_wait_at_once_and_sends_nothing(
    quota: Quota, clock: VirtualClock
) -> None:
    quota.record_hit("k", 30)
    token = CancelToken()
    waiting = asyncio.ensure_future(quota.wait("k", cancellation=token))
    await asyncio.sleep(1)
    token.cancel("stop")
    assert await waiting is None
    assert clock.time() == pytest.approx(1)
    assert quota.status()[0].waiting == 0


async def test_the_first_in_line_gives_up_and_the_next_takes_its_place(
    quota: Quota, clock: VirtualClock
) -> None:
    quota.record_hit("k", 30)
    async with crowd(quota, clock) as calls:
        first = calls.add("first")
        calls.add("second")
        await asyncio.sleep(1)
        first.cancel()
    assert calls.passed == [("second", pytest.approx(30))]


async def test_a_pace_of_requests_holds_ahead_of_any_refusal(
    quota: Quota, clock: VirtualClock
) -> None:
    quota.pace(rpm=60)
    async with crowd(quota, clock) as calls:
        for number in range(62):
            calls.add(str(number))
    assert calls.times[:60] == pytest.approx([0] * 60)
    assert calls.times[60:] == pytest.approx([1, 2])


async def test_a_pace_of_tokens_is_charged_when_a_call_has_ended(
    quota: Quota, clock: VirtualClock
) -> None:
    quota.pace(tpm=600)
    ticket = await quota.wait("k")
    assert ticket is not None
    quota.record_success("k", ticket, tokens=900)
    await quota.wait("k")
    assert clock.time() == pytest.approx(30.1, abs=0.01)


async def test_who_is_not_first_in_line_waits_no_longer_than_the_longest_wait_either() -> None:
    quota = Quota(jitter=lambda: 1.0, max_wait=25)
    quota.pace(rpm=6)
    for _ in range(6):
        await quota.wait("k")
    waits = [asyncio.ensure_future(quota.wait("k")) for _ in range(2)]
    starved = asyncio.ensure_future(quota.wait("k", background=True))
    await asyncio.sleep(12)  # the first has passed, and another one comes
    waits += [asyncio.ensure_future(quota.wait("k"))]
    done, _ = await asyncio.wait([starved], timeout=13.5)
    assert done
    error = starved.exception()
    assert isinstance(error, QuotaExceededError)
    assert error.retry_after > 0
    await asyncio.wait(waits)


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigurationError):
        Quota(max_wait=-1)
    with pytest.raises(ConfigurationError):
        Quota(max_retries=-1)
    with pytest.raises(ConfigurationError):
        Quota().pace(rpm=0)


def test_a_gate_is_shared_by_the_loops_of_two_threads() -> None:
    quota = Quota(jitter=lambda: 1.0)
    quota.record_hit("k", 0.02)
    passed: list[int | None] = []

    async def wait() -> None:
        async with asyncio.TaskGroup() as group:
            waits = [group.create_task(quota.wait("k")) for _ in range(3)]
        passed.extend([each.result() for each in waits])

    threads = [Thread(target=asyncio.run, args=(wait(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert passed == [1] * 6
    assert quota.status()[0].waiting == 0


def test_a_loop_that_was_closed_with_calls_in_line_holds_up_nobody() -> None:
    quota = Quota(jitter=lambda: 1.0)
    quota.record_hit("k", 0.05)
    dead = asyncio.new_event_loop()
    left = dead.create_task(quota.wait("k"))
    dead.run_until_complete(asyncio.sleep(0))
    dead.close()

    async def wait() -> int | None:
        async with asyncio.timeout(HANG):
            return await quota.wait("k")

    assert asyncio.run(wait()) == 1
    left._log_destroy_pending = False  # type: ignore[attr-defined] # it is this test's own doing
