"""The three roles of sidetask, written as a user would write them.

* agent: one `Runtime`, a live agent for each conversation, `ask` and `chat().text_stream()`.
  A tool turn is a task with its events, permits and checked arguments.
* dispatch: background launches through one `AsyncTaskManager` whose conversation cap is the
  budget, in manual delivery. The host launches as many as it may leave untaken, waits, and
  takes the results.
* cancel: the same manager; each task is cancelled by its handle, then the host waits for idle.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import sidetask
from sidetask.core.messages import ToolCall, ToolMessage, UserMessage
from sidetask.core.routing import DeliveryMode
from sidetask.models.base import (
    CallArguments,
    CallStarted,
    Chunk,
    Finished,
    ModelRequest,
    TextChunk,
)
from sidetask.tasks.context import RunContext
from sidetask.tasks.manager import AsyncTaskManager
from sidetask.tasks.values import Completed, Resolution, TaskLaunch, ToolOutcome

from .. import measure, script
from ..base import AgentAdapter, CancelAdapter, DispatchAdapter
from ..script import Scenario

Job = Callable[[int], Awaitable[Any]]


# -- the model ---------------------------------------------------------------------------


class ScriptModel:
    """Plays a scenario; looks at the last message only."""

    name = quota_key = "script"
    price = None

    def __init__(self, scenario: Scenario, window: int | None = None) -> None:
        self._scenario = scenario
        self.context_window = window
        self._calls = 0

    def stream(self, request: ModelRequest) -> Playing:
        return Playing(self._chunks(request))

    def _chunks(self, request: ModelRequest) -> Iterable[Chunk]:
        if self._scenario.name == "stream":
            return [*map(TextChunk, script.deltas(self._scenario.n)), Finished()]
        user, results = _tail(request)
        if self.context_window is not None and " " in user:  # it is asked for a summary
            return [TextChunk("What was said so far."), Finished()]
        answer = script.decide(self._scenario, user, results)
        if isinstance(answer, str):
            return (TextChunk(answer), Finished())
        chunks: list[Chunk] = []
        for index, (name, arguments) in enumerate(answer):
            self._calls += 1
            chunks.append(CallStarted(index, f"call_{self._calls}", name))
            chunks.append(CallArguments(index, script.dumps(arguments)))
        chunks.append(Finished("tool_calls"))
        return chunks


def _tail(request: ModelRequest) -> tuple[str, list[str]]:
    """The user's text, or the results of the last calls."""
    match request.messages[-1]:
        case UserMessage() as said:
            return said.text, []
        case ToolMessage(results):
            return "", [result.content for result in results]
        case other:
            raise AssertionError(f"the script knows no answer to {other!r}")


class Playing:
    """One reply: a context manager, and the iterator that it gives."""

    __slots__ = ("_chunks",)

    def __init__(self, chunks: Iterable[Chunk]) -> None:
        self._chunks = iter(chunks)

    async def __aenter__(self) -> Playing:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def __aiter__(self) -> Playing:
        return self

    async def __anext__(self) -> Chunk:
        for chunk in self._chunks:
            return chunk
        raise StopAsyncIteration


# -- the roles ---------------------------------------------------------------------------


class Agent(AgentAdapter):
    window: int | None = None
    """Tokens of the model's window: beyond it the conversation is compacted (b11)."""

    async def setup(self, sc: Scenario) -> None:
        tools: list[Any] = [script.TOOLS[name] for name in sc.tool_names]
        if sc.name == "loop":  # measured with limits and loop detection set aside
            tools = [sidetask.tool(tool, policy=REPEATABLE) for tool in tools]
        self._agent = sidetask.Agent(
            ScriptModel(sc, self.window),
            instructions=script.SYSTEM_PROMPT,
            tools=tools,
            max_steps=sc.model_calls_per_turn(),
        )
        self._runtime = sidetask.Runtime()

    async def fresh(self) -> sidetask.AgentHandle:
        return await self._runtime.open(self._agent)

    session = fresh

    async def turn(self, ctx: sidetask.AgentHandle, user: str) -> str:
        return str(await ctx.ask(user))

    async def stream(self, ctx: sidetask.AgentHandle, user: str) -> AsyncIterator[str]:
        response = await ctx.chat(user)
        async for piece in response.text_stream():
            yield piece

    def history_len(self, ctx: sidetask.AgentHandle) -> int:
        return len(ctx.history())

    async def forget(self, ctx: sidetask.AgentHandle) -> None:
        await ctx.shutdown()

    async def teardown(self) -> None:
        await self._runtime.close()


CONVERSATION = "bench"
POLICY = sidetask.TaskPolicy(delivery=DeliveryMode.MANUAL)
REPEATABLE = sidetask.TaskPolicy(repeatable=True)


def _launch(index: int) -> TaskLaunch:
    return TaskLaunch(
        call=ToolCall(f"call_{index}", "job", f'{{"i": {index}}}'),
        conversation_id=CONVERSATION,
        route=sidetask.background(),
        policy=POLICY,
    )


def _manager(job: Job, limits: sidetask.Limits) -> AsyncTaskManager:
    async def execute(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        value = await job(call.parsed()["i"])
        return Completed(value, str(value))

    return AsyncTaskManager({"job": execute}, limits=limits)


class Dispatch(DispatchAdapter):
    async def run(self, job: Job, n: int, budget: int, state: dict) -> None:
        limits = sidetask.Limits(conversation=budget)
        manager = _manager(job, limits)
        for first in range(0, n, limits.undelivered):
            for index in range(first, min(n, first + limits.undelivered)):
                manager.start_nowait(_launch(index))
            await self._take(manager, state)
        await manager.handle().close()

    async def pend(self, job: Job, n: int, budget: int, state: dict) -> Any:
        manager = _manager(job, sidetask.Limits(conversation=budget))
        for index in range(n):
            manager.start_nowait(_launch(index))
        return manager, state

    async def drain(self, handle: Any) -> None:
        manager, state = handle
        await self._take(manager, state)
        await manager.handle().close()

    async def _take(self, manager: AsyncTaskManager, state: dict) -> None:
        host = manager.handle()
        await host.wait_for_idle()
        for item in host.drain_ready_items():
            assert isinstance(item, Resolution)
            state[item.value] = item.value


class Cancel(CancelAdapter):
    async def run(self, body: Job, n: int, started: Callable[[], Awaitable[Any]]) -> Any:
        manager = _manager(body, sidetask.Limits(conversation=n, undelivered=n))
        host = manager.handle()
        ids = [manager.start_nowait(_launch(index)).task_id for index in range(n)]
        await started()
        with measure.Clock() as clock:
            for task_id in ids:
                host.task(task_id).cancel()
            await host.wait_for_idle()
        await asyncio.sleep(0)
        assert len(host.drain_ready_items()) == n
        await host.close()
        return clock.wall, clock.cpu
