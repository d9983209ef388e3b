"""A tool that asks a person before it runs, while the conversation goes on."""

import asyncio

import sidetask
from sidetask import Agent, background, tool
from sidetask.testing import ScriptedModel, call


# region tool
@tool(approval="ask", route=background())
async def delete(path: str) -> str:
    """Delete a file."""
    print(f"(deleting {path})")
    return f"{path} is gone"


# endregion tool

model = ScriptedModel(
    call("delete", path="old.log"),
    "I have asked for it.",
    "Yes, two others are old as well.",
    "old.log is gone now.",
)


async def main() -> None:
    async with sidetask.open(Agent(model, tools=[delete])) as chat:
        print(await chat.ask("Delete old.log."))
        # region decide
        await chat.wait_for_idle()  # an open question holds nobody up
        (approval,) = chat.approvals
        print("to decide:", approval.summary)
        print(await chat.ask("Are there other old ones?"))
        chat.approvals.approve(approval.id, by="ana@corp", note="fine with me")
        # endregion decide
        async for turn in chat.turns(until="idle"):
            print(await turn)


if __name__ == "__main__":
    asyncio.run(main())
