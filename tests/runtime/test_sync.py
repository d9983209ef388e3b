"""The synchronous face: scripts and notebooks. It runs in real time, on a thread of its own."""

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest

import sidetask
from sidetask import Agent, background, tool
from sidetask.core.errors import (
    AgentNotStartedError,
    ModelError,
    UnknownModelError,
)
from sidetask.core.messages import AssistantMessage
from sidetask.runtime.sync import LoopThread
from sidetask.testing import ScriptedModel, call, reply, stall
from tests.limits import HANG
from tests.runtime.harness import Held


def loop_threads() -> int:
    return sum(thread.name == "sidetask-loop" for thread in threading.enumerate())


class Behind:
    """A background tool that ends when the test says so, from its own thread."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

        @tool(detach_after=0)
        def behind() -> str:
            """Work behind."""
            assert self.let_go.wait(HANG)
            return "done"

        self.tool = behind


def test_a_script_talks_while_its_tools_go_on() -> None:
    behind = Behind()
    model = ScriptedModel(call("behind"), "Begun.", "Meanwhile.", "It is done.")
    with sidetask.open(Agent(model, tools=[behind.tool])) as chat:
        assert str(chat.ask("go")) == "Begun."
        assert str(chat.ask("meanwhile?")) == "Meanwhile."
        assert [task.status for task in chat.tasks()] == ["running"]
        behind.let_go.set()
        [turn] = chat.turns(until="idle")
        assert (turn.cause, turn.text, turn.status) == ("tasks", "It is done.", "completed")
        assert chat.wait_for_idle(HANG).undelivered == 0
        assert (len(chat.history()), chat.total_usage.requests) == (8, 4)
        assert chat.conversation_id == "conversation-1"
    assert loop_threads() == 0


def test_the_text_can_be_streamed() -> None:
    with sidetask.open(Agent(ScriptedModel(reply("One, ", "two."), "Three."))) as chat:
        assert "".join(chat.stream("count")) == "One, two."
        for _ in chat.stream("go on"):
            break
        chat.wait_for_idle(HANG)


def test_a_stream_raises_the_error_of_its_turn() -> None:
    with sidetask.open(Agent(ScriptedModel(["Half", RuntimeError("down")]))) as chat:
        pieces = chat.stream("go")
        assert next(pieces) == "Half"
        with pytest.raises(ModelError, match="down"):
            next(pieces)


def test_approvals_tasks_and_stops_are_at_hand() -> None:
    held = Held(route=background(), approval="ask")
    model = ScriptedModel(*[call("held"), "Begun."] * 2, "Late.", "Late.", "ok", loop=True)
    with sidetask.open(Agent(model, tools=[held.tool])) as chat:
        chat.ask("go")
        chat.ask("go")
        first, second = chat.approvals()
        assert chat.deny(first.id, "no", by="ada").decision == "denied"
        assert chat.approve(second.id, by="ada").decision == "approved"
        assert chat.cancel_task("task-2") == "cancelled"
        chat.cancel()
        chat.interrupt()
        chat.interrupt("all")
        assert not [task for task in chat.tasks() if task.status == "running"]


def test_a_message_can_be_sent_without_waiting() -> None:
    with sidetask.open(Agent(ScriptedModel("Hello."))) as chat:
        chat.send("hi")
        chat.wait_for_idle(HANG)
        assert len(chat.history()) == 2


def test_after_its_end_every_method_says_so() -> None:
    with sidetask.open(Agent(ScriptedModel("Hello."))) as chat:
        chat.ask("hi")
    for method in (
        lambda: chat.ask("hi"),
        lambda: list(chat.stream("hi")),
        lambda: list(chat.turns()),
        lambda: chat.send("hi"),
        chat.interrupt,
        chat.wait_for_idle,
        chat.tasks,
        chat.approvals,
        chat.history,
    ):
        with pytest.raises(AgentNotStartedError):
            method()
    chat.shutdown()


def test_an_agent_that_cannot_be_opened_leaves_no_thread() -> None:
    with pytest.raises(UnknownModelError), sidetask.open(Agent("nothing")):
        raise AssertionError
    assert loop_threads() == 0


def test_an_error_in_the_block_ends_the_agent() -> None:
    def failing() -> None:
        with sidetask.open(Agent(ScriptedModel(stall()))) as chat:
            chat.send("go")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert loop_threads() == 0


class CtrlC:
    """Raises `KeyboardInterrupt` in the thread that waits, as a terminal does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ready: threading.Event) -> None:
        begin = asyncio.run_coroutine_threadsafe

        def pressed(work: Coroutine[Any, Any, Any], loop: Any) -> Any:
            future = begin(work, loop)
            if self.armed:
                self.armed = False

                def result(timeout: float | None = None) -> Any:
                    assert ready.wait(HANG)
                    raise KeyboardInterrupt

                monkeypatch.setattr(future, "result", result, raising=False)
            return future

        self.armed = False
        monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", pressed)


def test_ctrl_c_in_a_question_ends_its_turn_and_the_agent_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready = threading.Event()

    async def thinking(_: object) -> Any:
        ready.set()
        await asyncio.sleep(HANG)

    ctrl_c = CtrlC(monkeypatch, ready)
    with sidetask.open(Agent(ScriptedModel(thinking, "Hello."))) as chat:
        ctrl_c.armed = True
        with pytest.raises(KeyboardInterrupt):
            chat.ask("go")
        assert str(chat.ask("hi")) == "Hello."


def test_ctrl_c_in_a_stream_ends_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = threading.Event()
    ready.set()
    ctrl_c = CtrlC(monkeypatch, ready)
    with sidetask.open(Agent(ScriptedModel(stall("One")))) as chat:
        pieces = chat.stream("go")
        assert next(pieces) == "One"
        ctrl_c.armed = True
        with pytest.raises(KeyboardInterrupt):
            next(pieces)
        chat.wait_for_idle(HANG)
        partial = chat.history()[-1]
        assert isinstance(partial, AssistantMessage)
        assert partial.partial


def test_a_stream_that_is_stopped_ends() -> None:
    with sidetask.open(Agent(ScriptedModel(stall("One")))) as chat:
        pieces = chat.stream("go")
        assert next(pieces) == "One"
        chat.interrupt()
        assert list(pieces) == []


def test_run_sync_is_run_for_scripts() -> None:
    begun = asyncio.Event()

    @tool(detach_after=0)
    async def behind() -> str:
        """Work behind."""
        await begun.wait()
        return "done"

    def begin(_: object) -> str:
        begun.set()
        return "Begun."

    agent = Agent(ScriptedModel(call("behind"), begin, "Done."), tools=[behind])
    result = agent.run_sync("go", timeout=HANG)
    assert (result.text, result.turns) == ("Done.", 2)
    assert loop_threads() == 0


async def test_run_sync_works_where_a_loop_runs_as_in_a_notebook() -> None:
    assert Agent(ScriptedModel("Hello.")).run_sync("hi").text == "Hello."


def test_run_sync_has_a_timeout() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        Agent(ScriptedModel(stall())).run_sync("hi", timeout=0.01)
    assert time.monotonic() - began < HANG


def test_a_loop_thread_leaves_the_loop_of_its_maker_alone() -> None:
    thread = LoopThread()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    thread.close()
    thread.close()
    assert thread.closed
    with pytest.raises(AgentNotStartedError):
        thread.run(asyncio.sleep(0))
