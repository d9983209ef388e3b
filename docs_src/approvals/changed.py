"""Approving something else than was asked for, and deciding twice."""

import asyncio

import sidetask
from sidetask import Agent, background, tool
from sidetask.core.errors import AlreadyDecidedError
from sidetask.testing import ScriptedModel, call


@tool(approval="ask", route=background())
async def order(item: str, count: int) -> str:
    """Order something."""
    return f"{count} x {item} ordered"


model = ScriptedModel(call("order", item="screws", count=9000), "I have asked.", "90 are ordered.")


async def main() -> None:
    async with sidetask.open(Agent(model, tools=[order])) as chat:
        await chat.ask("Order screws.")
        await chat.wait_for_idle()
        (approval,) = chat.approvals
        # region change
        chat.approvals.approve(
            approval.id, by="ana@corp", arguments={"item": "screws", "count": 90}
        )
        try:
            chat.approvals.deny(approval.id, "too many", by="bob@corp")
        except AlreadyDecidedError as error:
            print(f"already {error.decision} by {error.by}")
        # endregion change
        print((await chat.tasks.wait(approval.task_id)).content)
        await chat.wait_for_idle()


if __name__ == "__main__":
    asyncio.run(main())
