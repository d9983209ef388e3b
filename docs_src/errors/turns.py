"""A turn that fails, and the next one."""

import asyncio

import sidetask
from sidetask import Agent
from sidetask.core.errors import InvalidInputError, ModelStalledError, TurnError
from sidetask.testing import ScriptedModel, cut, stall

model = ScriptedModel(stall("Let me th"), cut("The answer"), "The answer is 42.")


async def main() -> None:
    async with sidetask.open(Agent(model, model_timeout=5)) as chat:
        # region catch
        for question in ["", "What is it?", "Well?", "And now?"]:
            try:
                print(await chat.ask(question))
            except InvalidInputError as error:  # nothing was said, nothing has changed
                print("refused:", error)
            except ModelStalledError as error:  # asking again may help
                print("stalled:", error.seconds, "s")
            except TurnError as error:  # the history is valid, the next turn may start
                print("failed:", error)
        # endregion catch
        print(len(chat.history()), "messages")


if __name__ == "__main__":
    asyncio.run(main())
