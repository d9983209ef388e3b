"""Handlers of approvals that misbehave: the call is denied, and nothing hangs."""

import asyncio
from typing import Any, cast

import pytest
from tests.runtime.harness import beside, talking

from sidetask import tool
from sidetask.agents.policies import Change
from sidetask.models.scripted import call
from sidetask.tasks.values import Approval
from sidetask.testing import ignores_cancellation


@tool(approval="ask")
async def pay(amount: float) -> str:
    """Pay."""
    return f"paid {amount}"


async def with_nan(_: Approval) -> Change:
    return Change({"amount": float("nan")})


async def with_no_mapping(_: Approval) -> Change:
    return Change(cast(Any, 7))


async def with_no_json(_: Approval) -> Change:
    return Change({"amount": cast(Any, object())})


async def cancelled_inside(_: Approval) -> bool:
    gone = asyncio.get_running_loop().create_future()
    gone.cancel()
    await gone
    return True


@pytest.mark.parametrize("handler", [with_nan, with_no_mapping, with_no_json, cancelled_inside])
async def test_an_answer_that_cannot_be_carried_out_denies(handler: Any) -> None:
    runtime = {"on_approval": handler}
    async with talking(call("pay", amount=1), "ok", tools=[pay], runtime=runtime) as talk:
        async with asyncio.timeout(60):
            await talk.chat.ask("go")
        assert talk.kinds().count("task_denied") == 1


async def test_a_shutdown_does_not_wait_for_ever_for_a_handler() -> None:
    async def stubborn(_: Approval) -> bool:
        await ignores_cancellation(1000)
        return True

    runtime = {"on_approval": stubborn}
    async with talking(call("pay", amount=1), "ok", tools=[pay], runtime=runtime) as talk:
        asked = await beside(talk.chat.ask("go"))
        began = asyncio.get_running_loop().time()
        await talk.chat.shutdown()
        assert asyncio.get_running_loop().time() - began < 30
        await asyncio.wait({asked})
        asked.exception()
        assert "paid" not in talk.answers()[0].content
