"""An agent as a tool of another one."""

import asyncio

import sidetask
from sidetask import Agent, tool
from sidetask.testing import ScriptedModel, call


# region agents
@tool
async def search(query: str) -> str:
    """Search the web."""
    await asyncio.sleep(3)
    return f"ten pages about {query}"


researcher = Agent(
    ScriptedModel(call("search", query="tea"), "Green tea sells best."),
    name="researcher",
    instructions="Answers questions about markets.",
    tools=[search],
)
editor = Agent(
    ScriptedModel(call("researcher", input="What tea sells best?"), "I have asked.", "Green tea."),
    tools=[researcher.as_tool(detach_after=1)],
)
# endregion agents


async def main() -> None:
    # region talk
    async with sidetask.open(editor) as chat:
        print(await chat.ask("Which tea shall we sell?"))
        async for turn in chat.turns(until="idle"):
            print(f"because of {turn.task_ids[0]}: {await turn}")
        print([f"{task.name} {task.status}" for task in chat.tasks])
    # endregion talk


if __name__ == "__main__":
    asyncio.run(main())
