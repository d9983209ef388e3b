"""A conversation that is recorded, and played again without its model."""

import asyncio
import tempfile
from pathlib import Path

from sidetask import Agent, tool
from sidetask.core.errors import TapeMismatchError
from sidetask.models.base import Model
from sidetask.models.tape import RecordingModel
from sidetask.testing import ScriptedModel, call


@tool
async def crawl(site: str) -> str:
    """Read all pages of a site."""
    return f"{site} has 12 pages"


async def ask(model: Model, text: str) -> str:
    return str(await Agent(model, tools=[crawl]).run(text))


# region record
async def record(live: Model, tape: Path) -> None:
    print(await ask(RecordingModel(live, tape), "How big is a.com?"))


# endregion record


# region play
async def play(tape: Path) -> None:
    print(await ask(ScriptedModel.from_tape(tape), "How big is a.com?"))
    try:
        await ask(ScriptedModel.from_tape(tape), "How big is b.com?")
    except TapeMismatchError as error:
        print(error)


# endregion play


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tape = Path(folder, "crawl.tape")
        await record(ScriptedModel(call("crawl", site="a.com"), "It has 12."), tape)
        await play(tape)


if __name__ == "__main__":
    asyncio.run(main())
