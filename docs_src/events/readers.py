"""One turn, several readers: its text, its events, its reply."""

import asyncio

import sidetask
from sidetask import Agent, ChatResponse
from sidetask.testing import ScriptedModel, reply

go_on = asyncio.Event()
model = ScriptedModel(reply("One, ", "two, ", go_on, "three."))


async def show_text(response: ChatResponse) -> None:
    print("text:", [piece async for piece in response.text_stream()])


async def show_events(response: ChatResponse) -> None:
    kinds = [event.kind.value async for event in response]
    print("events:", ", ".join(kinds))


async def main() -> None:
    async with sidetask.open(Agent(model)) as chat:
        response = await chat.chat("Count.")  # back before the model has started
        async with asyncio.TaskGroup() as readers:
            readers.create_task(show_text(response))
            readers.create_task(show_events(response))
            go_on.set()
        print("reply:", await response)
        await show_text(response)  # later readers get the text in one piece


if __name__ == "__main__":
    asyncio.run(main())
