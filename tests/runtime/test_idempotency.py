"""What a tool hands to others so that nothing happens twice."""

import sidetask
from sidetask import Agent, RunContext, tool
from sidetask.testing import ScriptedModel, call


async def test_the_idempotency_key_is_the_same_on_every_attempt_of_a_call_and_no_other() -> None:
    keys: list[tuple[int, str]] = []

    @tool
    async def pay(ctx: RunContext[None], invoice: str) -> str:
        """Pay an invoice."""
        keys.append((ctx.attempt, ctx.idempotency_key))
        if invoice == "A":
            await ctx.request_approval("that much?")
        keys.append((ctx.attempt, ctx.idempotency_key))
        return "paid"

    model = ScriptedModel(call("pay", invoice="A"), call("pay", invoice="B"), "done")
    async with sidetask.open(Agent(model, tools=[pay])) as chat:
        response = await chat.chat("Pay.")
        while not chat.approvals:
            await response.more()
        (approval,) = chat.approvals
        chat.approvals.approve(approval.id, by="ana")
        await response
    (_, first), (_, again), (_, other), _ = keys
    assert [attempt for attempt, _ in keys] == [1, 2, 1, 1]
    assert first == again
    assert other != first
