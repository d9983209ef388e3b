"""A test of an agent and a server, in one process and on the virtual clock."""

import asyncio

from mcp.server import MCPServer

import sidetask
from sidetask import Agent
from sidetask.interop.mcp import McpServer
from sidetask.models.scripted import call
from sidetask.testing import ScriptedModel


# region local
async def main() -> None:
    server = MCPServer("clock")

    @server.tool()
    async def now() -> str:
        """Tell the time."""
        return "noon"

    model = ScriptedModel(call("now"), "It is noon.")
    agent = Agent(model, tools=[McpServer.local(server, name="clock")])
    async with sidetask.open(agent) as chat:
        print(await chat.ask("What time is it?"))


# endregion local


if __name__ == "__main__":
    asyncio.run(main())
