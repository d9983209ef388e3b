"""What other processes say of a gate."""

import asyncio

import pytest

from sidetask.agents.quota import Quota
from sidetask.testing import VirtualClock


@pytest.fixture
def quota() -> Quota:
    return Quota(jitter=lambda: 1.0)


async def test_a_window_that_another_process_tells_parks_and_never_shortens(
    quota: Quota, clock: VirtualClock
) -> None:
    quota.record_hit("k", 20)
    quota.take("k", opens_in=10, hits=1)
    assert quota.closed_for("k") == 20
    quota.take("k", opens_in=30, hits=2)
    await quota.wait("k")
    assert clock.time() == pytest.approx(30)


async def test_who_waits_already_waits_for_the_longer_window(
    quota: Quota, clock: VirtualClock
) -> None:
    quota.record_hit("k", 5)
    waiting = asyncio.create_task(quota.wait("k"))
    await asyncio.sleep(1)
    quota.take("k", opens_in=10, hits=1)
    await waiting
    assert clock.time() == pytest.approx(11)


async def test_hits_elsewhere_lengthen_the_next_backoff_here(quota: Quota) -> None:
    quota.take("k", opens_in=0, hits=3)
    quota.record_hit("k")
    assert quota.closed_for("k") == 8


async def test_a_key_that_is_open_and_without_hits_is_not_remembered(quota: Quota) -> None:
    quota.take("k", opens_in=-5, hits=0)
    quota.take("other", opens_in=-5, hits=2)
    quota.take("other", opens_in=-5, hits=0)
    assert quota.status() == []
    assert quota.status_of("other") is None


async def test_hits_and_the_success_that_ends_them_are_told_and_nothing_else(quota: Quota) -> None:
    told: list[tuple[str, bool]] = []
    end = quota.share(lambda key, succeeded: told.append((key, succeeded)))
    quota.record_success("k", quota.ticket())
    early = quota.ticket()
    quota.record_hit("k")
    quota.record_success("k", early)
    quota.record_success("k", quota.ticket())
    quota.record_success("k", quota.ticket())
    quota.take("k", opens_in=5, hits=4)
    assert told == [("k", False), ("k", True)]
    end()
    quota.record_hit("k")
    assert len(told) == 2
