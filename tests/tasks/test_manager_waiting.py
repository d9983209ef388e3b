"""A task that waits for a person: it holds nothing, and may be cancelled, detached or forgotten."""

import pytest

from sidetask.core.errors import (
    AlreadyDecidedError,
)
from sidetask.core.events import ApprovalDecided, ApprovalRequested
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.routing import TaskPolicy, detach_after
from sidetask.tasks.parts.permits import Limits
from sidetask.tasks.values import (
    Approval,
    Detached,
)
from sidetask.testing import VirtualClock
from tests.tasks.harness import Bench, settle, timers


async def asked(bench: Bench) -> list[Approval]:
    """What is asked once everything that can run has run."""
    await settle()
    return bench.handle.approvals()


@pytest.mark.parametrize("tool", ["gated", "asking"])
async def test_a_task_that_waits_for_approval_holds_no_permit_and_no_idle(
    clock: VirtualClock, tool: str
) -> None:
    bench = Bench(clock, limits=Limits(conversation=1))
    bench.start_in_background(tool)
    idle = await bench.handle.wait_for_idle()
    assert (idle.undelivered, idle.approvals) == (0, 1)
    bench.start("quick")
    assert (await bench.answer()).status == "succeeded"


@pytest.mark.parametrize("tool", ["gated", "asking"])
async def test_an_approved_task_queues_for_its_permit_again(clock: VirtualClock, tool: str) -> None:
    bench = Bench(clock, limits=Limits(conversation=1))
    task = bench.start_in_background(tool)
    [approval] = await asked(bench)
    bench.start("sleep", {"seconds": 50})
    bench.handle.approve(approval.id, by="ana")
    await settle()
    assert bench.handle.get(task).status is TaskStatus.QUEUED
    assert (await bench.ended(task)).status == "succeeded"
    assert round(clock.time()) == 50


@pytest.mark.parametrize("tool", ["gated", "asking"])
async def test_cancelling_a_task_withdraws_what_it_asks(bench: Bench, tool: str) -> None:
    task = bench.start(tool)
    [approval] = await asked(bench)
    assert await bench.handle.cancel(task) == "cancelled"
    assert bench.handle.approvals() == []
    assert (await bench.answer()).status == "cancelled"
    [told] = [event for event in bench.events if isinstance(event, ApprovalDecided)]
    assert (told.approval_id, told.decision) == (approval.id, "withdrawn")
    with pytest.raises(AlreadyDecidedError, match="withdrawn"):
        bench.handle.approve(approval.id, by="ana")


@pytest.mark.parametrize("tool", ["gated", "asking"])
async def test_an_approval_that_nobody_decides_expires_as_denied(
    clock: VirtualClock, tool: str
) -> None:
    bench = Bench(clock, limits=Limits(approval_age=60))
    bench.start(tool)
    [approval] = await asked(bench)
    assert approval.expires_at is not None
    assert round(approval.expires_at - approval.created_at) == 60
    assert (await bench.answer()).status == "denied"
    with pytest.raises(AlreadyDecidedError, match="expired"):
        bench.handle.approve(approval.id, by="ana")
    assert timers() == 0


@pytest.mark.parametrize("tool", ["gated", "asking"])
async def test_a_task_may_be_detached_while_it_waits(bench: Bench, tool: str) -> None:
    task = bench.start(tool, route=detach_after(10))
    [approval] = await asked(bench)
    assert bench.handle.detach(task)
    assert isinstance(await bench.news(), Detached)
    bench.handle.approve(approval.id, by="ana")
    assert (await bench.ended(task)).status == "succeeded"
    assert [item.task_id for item in bench.pending()] == [task]


async def test_events_of_an_approval_tell_what_is_asked_and_who_decided(bench: Bench) -> None:
    bench.start("gated", {"x": 1}, policy=TaskPolicy())
    [approval] = await asked(bench)
    bench.handle.deny(approval.id, "no", by="ana")
    [request] = [event for event in bench.events if isinstance(event, ApprovalRequested)]
    [decision] = [event for event in bench.events if isinstance(event, ApprovalDecided)]
    assert (request.approval_id, request.arguments) == (approval.id, '{"x": 1}')
    assert (decision.decision, decision.by, decision.note) == ("denied", "ana", "no")
