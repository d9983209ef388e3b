"""Something is said in a conversation as part of the program's own transaction."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from sidetask import Agent, Runtime
from sidetask.client import Client
from sidetask.testing import ScriptedModel

agent = Agent(ScriptedModel("Hello.", "I have seen it."), name="clerk")


async def bill(client: Client, mine: sqlite3.Connection, number: int) -> None:
    # region tx
    mine.execute("INSERT INTO invoices (id) VALUES (?)", (number,))
    text, request = f"Invoice {number} came.", f"invoice-{number}"
    await client.send("front-desk", text, by="billing", client_request_id=request, tx=mine)
    # endregion tx


async def main() -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "shop.db"
        async with Runtime(store=f"sqlite:///{path}", agents=[agent]) as runtime:
            chat = await runtime.open("clerk", conversation_id="front-desk")
            await chat.ask("hi")
            await chat.disconnect()
            async with Client(f"sqlite:///{path}") as client:
                with closing(sqlite3.connect(path)) as mine:
                    mine.execute("CREATE TABLE invoices (id INTEGER)")
                    await bill(client, mine, 6)
                    mine.rollback()
                    await bill(client, mine, 7)
                    mine.commit()
            again = await runtime.resume("front-desk")
            async for turn in again.turns():
                await turn  # what was said while nobody was there is answered now
                break
            for message in again.history():
                print(getattr(message, "text", ""))


if __name__ == "__main__":
    asyncio.run(main())
