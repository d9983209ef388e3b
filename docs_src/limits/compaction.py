"""A conversation that outgrows its model, and goes on."""

import asyncio
from collections.abc import Sequence

import sidetask
from sidetask import Agent
from sidetask.agents.guards import Ask, Compaction, PruneOutputs
from sidetask.core.messages import Message, UserMessage, user_message
from sidetask.models.base import ModelRequest
from sidetask.testing import ScriptedModel


def answer(request: ModelRequest) -> str:
    """What a model would say."""
    last = request.messages[-1]
    asked = last.text if isinstance(last, UserMessage) else ""
    return "We spoke of cities." if "summary" in asked else "A city."


model = ScriptedModel(answer, loop=True, context_window=4_000)
small = ScriptedModel("We spoke of cities, in short.", loop=True)

# region settings
agent = Agent(model)  # a fifth of the window is kept free for the reply
cheap = Agent(model, compaction=Compaction(model=small, keep_turns=4))
pruned = Agent(model, compaction=Compaction(compactor=PruneOutputs(), trigger=50_000))
never = Agent(model, compaction=None)
# endregion settings


# region own
class Forget:
    """Keeps what users said, and nothing else."""

    async def compact(
        self, before: Sequence[Message], messages: Sequence[Message], ask: Ask
    ) -> Sequence[Message]:
        said = [message.text[:80] for message in messages if isinstance(message, UserMessage)]
        return [*before, user_message("Earlier: " + "; ".join(said))]


# endregion own


async def main() -> None:
    # region long
    async with sidetask.open(agent) as chat:
        for number in range(30):
            await chat.ask(f"City number {number}? " + "please " * 150)
        print(len(chat.history()), "messages, all kept")
        print("compacted at", *chat.compaction_indices)
        summary, *seen = model.requests[-1].messages
        print(len(seen), "seen as they are, behind a summary:")
        print(summary.text if isinstance(summary, UserMessage) else summary)
    # endregion long
    async with sidetask.open(Agent(model, compaction=Compaction(compactor=Forget()))) as chat:
        for number in range(20):
            await chat.ask(f"City number {number}? " + "please " * 150)
        print("with our own:", len(chat.compaction_indices), "compactions")


if __name__ == "__main__":
    asyncio.run(main())
