"""The test kit's runtime and faults."""

import asyncio
import inspect
from pathlib import Path

import pytest
from docs_src import testing_virtual_clock

import sidetask.testing
from sidetask import Agent, AgentHandle, Event, background, tool
from sidetask.core.errors import ModelError
from sidetask.models.tape import RecordingModel
from sidetask.testing import (
    LeakError,
    ScriptedModel,
    VirtualClock,
    call,
    fails,
    running_runtime,
)
from sidetask.testing.clock import EPOCH


@tool(route=background())
async def endless() -> None:
    """Work on."""
    await asyncio.sleep(1e6)


async def first_event_at(chat: AgentHandle) -> float:
    event = await anext(chat.events(after=0))
    assert isinstance(event, Event)
    return event.at


async def test_a_runtime_of_a_test_is_on_the_tests_clock() -> None:
    agent = Agent(ScriptedModel("Hello."))
    async with running_runtime() as runtime, runtime.open(agent) as chat:
        await asyncio.sleep(100)
        await chat.ask("hi")
        assert await first_event_at(chat) == EPOCH + 100


async def test_what_a_test_left_behind_is_told_and_ended() -> None:
    async def leaking() -> None:
        async with running_runtime() as runtime:
            chat = await runtime.open(
                Agent(ScriptedModel(call("endless"), "Begun."), tools=[endless])
            )
            await chat.ask("go")
            await asyncio.sleep(1)
            chats.append(chat)

    chats: list[object] = []
    before = asyncio.all_tasks()
    with pytest.raises(LeakError) as caught:
        await leaking()
    assert caught.value.agents == ("conversation-1",)
    assert caught.value.tasks == ("task-1 endless running",)
    assert "live agent: conversation-1\n  living task: task-1 endless running" in str(caught.value)
    assert asyncio.all_tasks() == before


async def test_an_error_of_the_test_is_not_hidden_by_what_it_left_behind() -> None:
    async def failing() -> None:
        async with running_runtime() as runtime:
            chats.append(await runtime.open(Agent(ScriptedModel())))
            raise ZeroDivisionError

    chats: list[object] = []
    with pytest.raises(ZeroDivisionError):
        await failing()


def test_without_a_virtual_clock_a_runtime_runs_in_real_time() -> None:
    async def main() -> float:
        agent = Agent(ScriptedModel("Hello."))
        async with running_runtime() as runtime, runtime.open(agent) as chat:
            await chat.ask("hi")
            return await first_event_at(chat)

    assert asyncio.run(main()) != EPOCH


async def test_a_model_fails_as_it_is_told() -> None:
    model = ScriptedModel(fails(), fails("Half", error=OSError("gone")))
    async with running_runtime() as runtime, runtime.open(Agent(model)) as chat:
        for said in ("as the test wants", "OSError: gone"):
            with pytest.raises(ModelError, match=said):
                await chat.ask("go")


def test_the_kit_names_what_it_has() -> None:
    assert all(getattr(sidetask.testing, name) for name in sidetask.testing.__all__)


def test_the_guides_tests_pass() -> None:
    tests = [test for name, test in vars(testing_virtual_clock).items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        if inspect.iscoroutinefunction(test):
            VirtualClock().run(test())
        else:
            test()


async def test_a_scripted_model_can_be_made_from_a_tape(tmp_path: Path) -> None:
    tape = tmp_path / "tape.jsonl"
    async with running_runtime() as runtime:
        async with runtime.open(Agent(RecordingModel(ScriptedModel("Hello."), tape))) as chat:
            await chat.ask("Hi.")
        async with runtime.open(Agent(ScriptedModel.from_tape(tape))) as chat:
            assert str(await chat.ask("Hi.")) == "Hello."
