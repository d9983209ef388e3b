"""What the model reads when a call goes wrong."""

import asyncio

import sidetask
from sidetask import Agent, ToolError, tool
from sidetask.core.ids import CallId
from sidetask.core.messages import ToolCall, ToolMessage
from sidetask.testing import ScriptedModel, call, reply


# region tools
@tool
async def book(room: str, nights: int) -> str:
    """Book a room."""
    if room == "13":
        raise ToolError("there is no room 13: ask for another one")  # in your words
    return {"12": "booked"}[room]  # a KeyError is told too


# endregion tools

model = ScriptedModel(
    reply(
        call("book", room="12", nights=2),
        call("book", room="13", nights=2),
        call("book", room="14", nights=2),
        call("book", room="12", nights="a few"),
        call("book_room", room="12"),
        ToolCall(CallId(""), "book", '{"room": "12'),
    ),
    "One of six worked.",
)


async def main() -> None:
    async with sidetask.open(Agent(model, tools=[book])) as chat:
        print(await chat.ask("Book something."))
        for message in chat.history():
            if isinstance(message, ToolMessage):
                for result in message.results:
                    print("error:" if result.is_error else "ok:", result.content)


if __name__ == "__main__":
    asyncio.run(main())
