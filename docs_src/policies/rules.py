"""Rules over all tools of an agent, and a handler that answers the questions."""

import asyncio

from sidetask import Agent, open, tool
from sidetask.agents.policies import Deny, Policy, allow, ask, deny
from sidetask.core.messages import ToolMessage
from sidetask.models.scripted import call, reply
from sidetask.tasks.values import Approval
from sidetask.testing import ScriptedModel


@tool
async def read_file(path: str) -> str:
    """Read a file."""
    return f"the text of {path}"


@tool
async def delete_file(path: str) -> str:
    """Delete a file."""
    return f"{path} is gone"


@tool
async def shell(command: str) -> str:
    """Run a command."""
    return f"ran {command}"


# region policy
policy = Policy(
    allow("read_*"),
    deny("read_*", when=lambda a: ".ssh" in str(a["path"]), reason="keys are not read"),
    ask("delete_*", reason="what is gone is gone"),
    deny("shell"),
    default="ask",
)


async def decide(approval: Approval) -> bool | Deny:
    """Answers in the place of a person; yours asks one."""
    print("asked:", approval.summary)
    return approval.summary.endswith(".log") or Deny("only logs are deleted")


# endregion policy


async def main() -> None:
    calls = reply(
        call("read_file", path="notes.txt"),
        call("read_file", path=".ssh/id"),
        call("delete_file", path="old.log"),
        call("delete_file", path="thesis.txt"),
        call("shell", command="ls"),
    )
    model = ScriptedModel(calls, "Done.")
    agent = Agent(model, tools=[read_file, delete_file, shell], policy=policy)
    async with open(agent, on_approval=decide) as chat:
        await chat.ask("Clean up.")
        for message in chat.history():
            if isinstance(message, ToolMessage):
                for result in message.results:
                    print(f"{result.name}: {result.content}")


if __name__ == "__main__":
    asyncio.run(main())
