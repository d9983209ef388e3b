"""A real 429 on every wire: the key is parked for as long as the provider says."""

import asyncio

import pytest

from sidetask import Agent
from sidetask.agents.quota import Quota
from sidetask.testing import running_runtime
from tests.limits import HANG
from tests.wires.conftest import Script
from tests.wires.tap import Tap
from tests.wires.wires import Wire

pytestmark = pytest.mark.wires

REFUSAL = {"error": {"message": "slow down", "type": "rate_limit_error"}, "status": 429}


async def test_agents_on_one_key_wait_out_a_429_and_none_is_lost(
    wire: Wire, tap: Tap, script: Script
) -> None:
    model = wire.model(tap.url)
    script({**REFUSAL, "retryAfter": 1}, *[{"content": "Here."}] * 3)
    quota = Quota()
    async with asyncio.timeout(HANG), running_runtime(quota=quota) as runtime:
        chats = [await runtime.open(Agent(model)) for _ in range(3)]
        first = await chats[0].chat("Are you there?")
        async for event in first:
            if event.kind == "quota_hit":
                break
        waiting = [await chat.chat("And you?") for chat in chats[1:]]
        assert quota.closed_for(model.quota_key) <= 1
        assert [str(await each) for each in (first, *waiting)] == ["Here."] * 3
        assert len(tap.asked) == 4
        assert tap.times[1] - tap.times[0] >= 1
        assert quota.status() == []
        for chat in chats:
            await chat.shutdown()
    await model.aclose()
