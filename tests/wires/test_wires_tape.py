"""A tape of a real wire: recorded once, it is played without the wire, and replayed against it."""

import asyncio
from pathlib import Path

import pytest

from sidetask import Agent, Runtime, tool
from sidetask.cli.replay.command import run
from sidetask.models.base import Model
from sidetask.models.tape import RecordingModel, TapeModel, read_tape
from tests.limits import HANG
from tests.wires.conftest import Script
from tests.wires.tap import Tap
from tests.wires.test_wires_conversation import call
from tests.wires.wires import Wire

pytestmark = pytest.mark.wires

CALLS = {
    "content": "Let me see.",
    "toolCalls": [call("1", "dig", site="a")],
    "finishReason": "stop",
}
DONE = {"content": "It is deep."}


@tool
async def dig(site: str) -> str:
    """Dig somewhere."""
    return f"{site} is deep"


async def talk(model: Model) -> str:
    async with asyncio.timeout(HANG), Runtime() as runtime:
        chat = await runtime.open(Agent(model, tools=[dig], model_timeout=HANG))
        return str(await chat.ask("How deep is a?"))


async def test_a_conversation_of_a_wire_is_played_without_it(
    wire: Wire, tap: Tap, script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wire.tape"
    model = wire.model(tap.url)
    script(CALLS, DONE, CALLS, {"content": "It is flat."})
    told = await talk(RecordingModel(model, path))
    asked = len(tap.asked)
    assert await talk(TapeModel(path)) == told == "It is deep."
    assert len(tap.asked) == asked
    assert all(key not in path.read_text("utf-8") for key in ("Bearer", "api_key", "x-api-key"))
    assert await run(read_tape(path), model, calls_only=False, as_json=False) == 1
    await model.aclose()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:3] for line in lines if " → " in line] == [
        ["same", "same"],
        ["differs", "same"],
    ]
    assert lines[-2:] == ["       + text: It is flat.", "2 replies, 1 of them different"]
