"""A tool that asks in the middle of its work."""

import asyncio

import sidetask
from sidetask import Agent, RunContext, background, tool
from sidetask.core.errors import ApprovalDeniedError
from sidetask.testing import ScriptedModel, call


# region tool
@tool(route=background())
async def pay(ctx: RunContext[None], invoice: str) -> str:
    """Pay an invoice."""
    amount = 1200  # found out by looking, so nobody could be asked before
    if amount > 1000:
        try:
            await ctx.request_approval("more than 1,000", amount=amount, invoice=invoice)
        except ApprovalDeniedError:
            print("pay: the draft is thrown away")
            raise
    return f"{amount} paid"


# endregion tool

model = ScriptedModel(
    call("pay", invoice="A-1"),
    "I have begun.",
    "I was not allowed to pay it: the budget is spent.",
)


async def main() -> None:
    async with sidetask.open(Agent(model, tools=[pay])) as chat:
        print(await chat.ask("Pay A-1."))
        await chat.wait_for_idle()
        (approval,) = chat.approvals
        print(approval.reason, dict(approval.metadata))
        chat.approvals.deny(approval.id, "the budget is spent", by="ana@corp")
        resolution = await chat.tasks.wait(approval.task_id)
        print(f"{resolution.status}: {resolution.content}")
        async for turn in chat.turns(until="idle"):
            print(await turn)


if __name__ == "__main__":
    asyncio.run(main())
