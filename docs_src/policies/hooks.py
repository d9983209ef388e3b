"""Hooks: change a call before it runs, count failures, keep a turn going."""

import asyncio
from dataclasses import dataclass

from sidetask import Agent, open, tool
from sidetask.agents.policies import Change, Decision, HookContext, Hooks, ToolUse
from sidetask.models.scripted import call
from sidetask.testing import ScriptedModel


@tool
async def search(query: str, limit: int = 100) -> str:
    """Search."""
    return f"{limit} hits for {query}"


# region hooks
@dataclass
class House(Hooks):
    """What our program wants of every agent."""

    asked_to_cite: bool = False

    async def pre_tool_call(self, ctx: HookContext, call: ToolUse) -> Decision:
        if call.name == "search":
            return Change({**call.arguments, "limit": 10})  # nobody reads more
        return None

    async def post_tool_call(self, ctx: HookContext, call: ToolUse, result: str) -> None:
        print(f"{call.call_id} {call.name}: {result}")

    async def on_stop(self, ctx: HookContext, text: str) -> str | None:
        if "http" in text or self.asked_to_cite:
            return None
        self.asked_to_cite = True
        return "Name your source."


# endregion hooks


async def main() -> None:
    model = ScriptedModel(
        call("search", query="tides"), "The moon.", "The moon: https://tides.example"
    )
    async with open(Agent(model, tools=[search], hooks=[House()])) as chat:
        print(await chat.ask("What makes the tides?"))


if __name__ == "__main__":
    asyncio.run(main())
