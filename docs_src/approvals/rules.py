"""A rule that asks for some calls only."""

import asyncio
from typing import Any

import sidetask
from sidetask import Agent, tool
from sidetask.testing import ScriptedModel, call


# region rule
def is_outside(arguments: dict[str, Any]) -> bool:
    return not str(arguments["path"]).startswith("/tmp/")


@tool(approval=is_outside)
async def delete(path: str) -> str:
    """Delete a file."""
    return f"{path} is gone"


# endregion rule

model = ScriptedModel(
    call("delete", path="/tmp/a"), "Done.", call("delete", path="/home/b"), "Nobody agreed."
)


async def main() -> None:
    # region expiry
    limits = sidetask.Limits(approval_age=5)  # seconds; then nobody's answer counts as no
    async with sidetask.open(Agent(model, tools=[delete]), limits=limits) as chat:
        # endregion expiry
        print(await chat.ask("Delete /tmp/a."))
        print(await chat.ask("Delete /home/b."))
        for task in chat.tasks:
            print(task.arguments, task.status, task.error or "")


if __name__ == "__main__":
    asyncio.run(main())
