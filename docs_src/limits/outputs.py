"""An output that is too long for the model: cut, kept, and read on."""

import asyncio

import sidetask
from sidetask import Agent, tool
from sidetask.core.messages import ToolMessage
from sidetask.testing import ScriptedModel, call


@tool
async def read_log() -> str:
    """Read the log."""
    return "\n".join(f"line {number}" for number in range(1, 10_001))


model = ScriptedModel(
    call("read_log"),
    call("read_output", id="task-1", offset=8_882, limit=40),
    "I have seen enough.",
)


async def main() -> None:
    async with sidetask.open(Agent(model, tools=[read_log])) as chat:
        await chat.ask("What does the log say?")
        for message in chat.history():
            if isinstance(message, ToolMessage):
                lines = message.results[0].content.splitlines()
                print(*(lines if len(lines) < 9 else lines[998:1001]), sep="\n")
                print("--")


if __name__ == "__main__":
    asyncio.run(main())
