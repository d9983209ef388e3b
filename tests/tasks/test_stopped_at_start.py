"""Tasks that are stopped by who hears, while they are started, that they are there."""

import pytest

from sidetask.core.events import Event, TaskQueued
from sidetask.core.routing import Route, background, detach_after, foreground
from sidetask.tasks.parts.permits import Limits
from sidetask.tasks.values import TurnSettled
from sidetask.testing import VirtualClock
from tests.tasks.harness import Bench, settle


@pytest.mark.parametrize("route", [foreground(), detach_after(5), background()], ids=str)
async def test_a_task_that_is_stopped_as_it_starts_is_answered_and_keeps_nothing(
    clock: VirtualClock, route: Route
) -> None:
    bench = Bench(clock, limits=Limits(total=1))

    def stop(event: Event) -> None:
        if isinstance(event, TaskQueued) and event.name == "sleep":
            bench.handle.task(event.task_id).cancel("not wanted")

    bench.outbox.everything.tap(stop)
    stopped = bench.start("sleep", route=route)
    assert bench.told(stopped) == ["task_queued", "task_cancelled"]
    if route.kind == "background":
        assert [item.task_id for item in bench.pending()] == [stopped]
    else:
        assert (await bench.answer()).task_id == stopped
        assert isinstance(await bench.news(), TurnSettled)
    bench.start("quick", turn=None)  # the one permit is free
    await settle()
    await bench.idle()
    assert bench.kinds()[-1] == "task_succeeded"
