"""Turns that nobody asks for: by the clock, and when a number in the state is too high."""

import asyncio

from sidetask import Agent, open
from sidetask.core.messages import UserMessage
from sidetask.orchestration import custom
from sidetask.runtime.triggers import TriggerContext, cron, every, on_state
from sidetask.testing import ScriptedModel

model = ScriptedModel(*["Noted."] * 9)


# region triggers
async def thermometer(ctx: TriggerContext) -> None:
    """Plain code is a trigger, too. It may start turns, dispatch agents, write the state."""
    for degrees in (19, 24, 31, 22, 33):
        await asyncio.sleep(100)
        ctx.state.set("degrees", degrees)


too_hot = custom(lambda state: state.get("degrees", 0, as_type=int) > 30, "it is too hot")

triggers = [
    every(200, "Is anything new?"),
    cron("0 9 * * mon-fri", "Plan the day.", tz="Europe/Berlin"),
    on_state(too_hot, "It is too hot. Do something."),
    thermometer,
]
# endregion triggers


async def main() -> None:
    # region open
    async with open(Agent(model), triggers=triggers) as chat:
        async for turn in chat.turns():
            await turn
            said = [each.text for each in chat.history() if isinstance(each, UserMessage)]
            print(f"{turn.cause}: {said[-1]}")
            # endregion open
            if chat.turn_count == 5:
                break


if __name__ == "__main__":
    asyncio.run(main())
