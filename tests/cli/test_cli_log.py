"""The events that a store keeps, and what happened as lanes."""

import asyncio
import json
from pathlib import Path

import pytest

from sidetask import Agent, background, tool
from sidetask.cli.lines import Manner, OneLine, hold
from sidetask.cli.log import Shown, UnknownConversationError, show
from sidetask.cli.main import main
from sidetask.cli.view.lanes import drawn, lanes
from sidetask.core.codec import event_from_json
from sidetask.core.events import Event, RunFailed, RunStarted, TaskQueued
from sidetask.core.ids import CallId, ConversationId, RunId, TaskId, TurnId
from sidetask.stores.memory import MemoryStore
from sidetask.stores.opening import open_store
from sidetask.testing import ScriptedModel, VirtualClock, call

Capture = pytest.CaptureFixture[str]


def run_started(seq: int = 1, at: float = 0.0) -> RunStarted:
    return RunStarted(
        seq=seq,
        at=at,
        conversation_id=ConversationId("c"),
        turn_id=TurnId("turn-1"),
        run_id=RunId("run:turn-1"),
        cause="user",
    )


def run_failed(seq: int = 2, at: float = 1.0, error: str = "no\x1b[2J") -> RunFailed:
    return RunFailed(
        seq=seq,
        at=at,
        conversation_id=ConversationId("c"),
        turn_id=TurnId("turn-1"),
        run_id=RunId("run:turn-1"),
        error=error,
        error_type="ModelError",
    )


def filled() -> MemoryStore:
    store = MemoryStore()
    store.append(run_started())
    store.append(run_failed())
    return store


# -- events ----------------------------------------------------------------------------------


async def test_a_fact_is_a_line_with_its_number_turn_kind_and_fields(capsys: Capture) -> None:
    assert await show(filled(), "c", Shown()) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.split()[0] == "1"
    assert first.split()[2:] == ["turn-1", "run_started", "cause='user'"]
    assert "error_type='ModelError'" in second
    assert "\x1b" not in second


async def test_facts_are_printed_as_the_codec_writes_them_from_any_number_on(
    capsys: Capture,
) -> None:
    assert await show(filled(), "c", Shown(after=1, as_json=True)) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert event_from_json(json.loads(line)) == run_failed()


async def test_the_end_of_a_log_is_no_error(capsys: Capture) -> None:
    assert await show(filled(), "c", Shown(after=2)) == 0
    assert capsys.readouterr().out == ""


async def test_a_conversation_that_is_not_there_is_told() -> None:
    with pytest.raises(UnknownConversationError, match="no conversation 'nobody'"):
        await show(filled(), "nobody", Shown())


def test_the_command_reads_what_another_process_left_in_a_database(
    tmp_path: Path, capsys: Capture
) -> None:
    url = f"sqlite:///{tmp_path}/kept.db"

    async def leave() -> None:
        store = open_store(url)
        await store.start()
        store.append(run_started())
        store.append(run_failed())
        await store.close()

    asyncio.run(leave())
    with pytest.raises(SystemExit) as ended:
        main(["events", "c", "--store", url, "--trace"])
    assert ended.value.code == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 4
    assert told[3].startswith("turn-1  █")
    with pytest.raises(SystemExit) as ended:
        main(["events", "nobody", "--store", url])
    assert ended.value.code == 2
    assert "no conversation 'nobody'" in capsys.readouterr().err


# -- lanes -----------------------------------------------------------------------------------


@tool(route=background())
async def dig() -> str:
    """Dig."""
    await asyncio.sleep(8)
    return "deep"


async def test_turns_and_tasks_are_lanes_on_one_scale(capsys: Capture, clock: VirtualClock) -> None:
    agent = Agent(ScriptedModel(call("dig"), "Digging.", "It is deep."), tools=[dig])
    manner = Manner(answers_only=True, trace=True)
    assert await hold(agent, OneLine("go"), manner, clock=clock) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == ["Digging.", "It is deep."]
    first, task, second = said.err.splitlines()
    assert first.startswith("turn-1")
    assert first.endswith("completed")
    assert "task-1 dig" in task
    assert "▒" * 40 in task
    assert task.endswith("8.0 s  succeeded")
    assert second.split()[1] == "█"


async def test_without_the_option_nothing_is_drawn(capsys: Capture) -> None:
    agent = Agent(ScriptedModel("Hi."))
    assert await hold(agent, OneLine("go"), Manner(answers_only=True)) == 0
    assert capsys.readouterr().err == ""


def test_what_has_not_ended_is_drawn_to_the_end_and_said_to_be_at_work() -> None:
    queued = TaskQueued(
        seq=2,
        at=2.0,
        conversation_id=ConversationId("c"),
        task_id=TaskId("task-1"),
        call_id=CallId("call-1"),
        name="dig",
        attempt=1,
        background=True,
    )
    events: list[Event] = [run_started(), queued, run_failed(3, 4.0)]
    turn, task = [line.plain for line in drawn(lanes(events), width=8)]
    assert turn == "turn-1      ████████     4.0 s  failed"
    assert task == "task-1 dig      ····     2.0 s  still at work"


def test_nothing_is_drawn_of_nothing() -> None:
    assert drawn(lanes([])) == []
