"""One turn without a runtime: with the inline manager, and with managers that misbehave."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest
from tests.runtime.harness import assert_valid, beside

from sidetask import Agent, tool
from sidetask.agents.conversation import Conversation
from sidetask.agents.quota import Quota
from sidetask.agents.tools.toolset import Toolset
from sidetask.agents.turn.log import Surroundings
from sidetask.agents.turn.loop import TurnEnd, TurnRun
from sidetask.core.ids import ConversationId, TaskId, TurnId
from sidetask.core.messages import ToolMessage, user_message
from sidetask.core.routing import TaskKind
from sidetask.stores.memory import MemoryStore
from sidetask.tasks.aio.clock import SystemClock
from sidetask.tasks.aio.outbox import Outbox
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.tasks.manager import TaskManager
from sidetask.tasks.simple import SimpleTaskManager
from sidetask.tasks.values import LoopUpdates, Pending, TurnSettled
from sidetask.testing import ScriptedModel, call


@tool
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


class Bench:
    """A turn, and what it needs."""

    def __init__(self, manager: TaskManager, *script: Any, store: Any = None) -> None:
        model = ScriptedModel(*script)
        config = Agent(model, tools=[add])
        self.conversation = Conversation(
            ConversationId("c"), config, model, Toolset(config.toolbox)
        )
        self.token = CancelToken()
        store = store or MemoryStore()
        self.outbox = Outbox(store, SystemClock())
        self.kinds: list[str] = []
        self.outbox.everything.tap(lambda event: self.kinds.append(str(event.kind)))
        around = Surroundings(manager, store, self.outbox, Quota())
        self.run = TurnRun(around, self.conversation, TurnId("t"), self.token)

    async def go(self) -> TurnEnd:
        end = await self.run.run(user_message("go"), cause="user")
        assert_valid(self.conversation.history)
        return end

    def answers(self) -> list[str]:
        return [
            result.content
            for message in self.conversation.history
            if isinstance(message, ToolMessage)
            for result in message.results
        ]


class Odd:
    """A manager that starts a call as a task and then says what the test wants."""

    def __init__(self, news: object) -> None:
        self.news = news

    async def start_task(self, launch: object, *, cancellation: CancelToken | None = None) -> Any:
        assert cancellation is not None
        if self.news == "stop":
            cancellation.cancel("stopped while calls are started")
        return Pending(TaskId("task-1"), TaskKind.FOREGROUND)

    async def stored(self) -> None: ...

    async def wait_for_turn(self, *_: object) -> object:
        return self.news

    def take_pending_loop_updates(self, conversation_id: ConversationId) -> LoopUpdates:
        return LoopUpdates(())

    def on_turn_interrupted(self, *_: object) -> list[object]:
        return []

    def ack(self, *_: object) -> None: ...


def odd(news: object) -> TaskManager:
    return cast(TaskManager, Odd(news))


async def test_the_inline_manager_runs_every_call_in_its_turn() -> None:
    tools: Mapping[str, Any] = {"add": add.execute}
    calls = [call("add", a=1, b=2), call("add", a=3, b="x")]
    bench = Bench(SimpleTaskManager(tools), calls, "Done.")
    end = await bench.go()
    assert (end.status, end.text, end.steps, bench.answers()[0]) == ("completed", "Done.", 2, "3")
    assert "b" in bench.answers()[1]


async def test_a_call_that_its_manager_lost_is_answered_all_the_same() -> None:
    bench = Bench(odd(TurnSettled()), call("add", a=1, b=2), "Done.")
    assert (await bench.go()).text == "Done."
    assert bench.answers() == ["The call was lost."]


async def test_a_stop_between_two_starts_begins_no_other_call() -> None:
    bench = Bench(odd("stop"), [call("add", a=1, b=2)] * 3, "never")
    end = await bench.go()
    assert (end.status, bench.kinds[-1]) == ("cancelled", "run_cancelled")
    assert bench.answers() == ["Not answered: the turn ended before it."] * 3


class Slow(MemoryStore):
    """Takes a second for each message."""

    async def commit_turn(self, *args: Any, **settings: Any) -> None:
        await asyncio.sleep(1)
        await super().commit_turn(*args, **settings)


@pytest.mark.parametrize("seconds", [0.5, 1.5, 2.5, 3.5, 4.5])
@pytest.mark.parametrize("cancels", [1, 2, 3])
async def test_a_turn_that_is_cancelled_while_it_closes_is_closed_first(
    seconds: float, cancels: int
) -> None:
    """However often, and whatever it was about to write."""
    tools: Mapping[str, Any] = {"add": add.execute}
    script = (call("add", a=1, b=2), "Done.")
    bench = Bench(SimpleTaskManager(tools), *script, store=Slow())
    running = await beside(bench.go())
    await asyncio.sleep(seconds)
    for _ in range(cancels):
        running.cancel()
        await asyncio.sleep(0.1)
    await asyncio.wait([running])
    assert running.cancelled() == (seconds < 4)
    ends = [kind for kind in bench.kinds if kind in {"run_cancelled", "run_completed"}]
    assert ends == (["run_cancelled"] if running.cancelled() else ["run_completed"])
    assert_valid(bench.conversation.history)


async def test_a_cancellation_while_a_failed_turn_closes_is_kept_and_the_failure_told() -> None:
    bench = Bench(odd(TurnSettled()), ["Half", RuntimeError("down")], store=Slow())
    running = await beside(bench.go())
    await asyncio.sleep(1.5)  # the model has failed, and its half reply is being written
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert bench.kinds[-1] == "run_failed"
    assert bench.run.end is not None
    assert (bench.run.end.status, bench.run.end.text) == ("failed", "Half")
