"""The shared state, and a busy runtime, as a host would use them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sidetask
from sidetask.core.messages import ToolCall
from sidetask.models.base import Chunk, ModelRequest, TextChunk
from sidetask.state.state import State
from sidetask.tasks.context import RunContext
from sidetask.tasks.manager import AsyncTaskManager
from sidetask.tasks.values import TaskLaunch, ToolOutcome


def state() -> State:
    return State()


class Talker:
    """A model that never stops talking."""

    name = quota_key = "talker"
    context_window = None
    price = None

    def __init__(self, pace: float) -> None:
        self._pace = pace

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[Chunk]]:
        yield self._talk()

    async def _talk(self) -> AsyncIterator[Chunk]:
        while True:
            await asyncio.sleep(self._pace)
            yield TextChunk("a word ")


async def linger(call: ToolCall, ctx: RunContext[None]) -> ToolOutcome:
    """Stay until cancelled, and tell of it once a second."""
    while True:
        await ctx.progress(None, "still here")
        await asyncio.sleep(1.0)


class Load:
    """So many streams, and so many tasks of one conversation."""

    def __init__(self) -> None:
        self._pieces = 0

    async def begin(self, streams: int, tasks: int, pace: float) -> None:
        self._runtime = sidetask.Runtime()
        agent = sidetask.Agent(Talker(pace))
        handles = [await self._runtime.open(agent) for _ in range(streams)]
        self._readers = [asyncio.ensure_future(self._read(each)) for each in handles]
        limits = sidetask.Limits(conversation=tasks, undelivered=tasks)
        self._manager = AsyncTaskManager({"linger": linger}, limits=limits)
        for index in range(tasks):
            call = ToolCall(f"call_{index}", "linger")
            launch = TaskLaunch(call=call, conversation_id="bench", route=sidetask.background())
            self._manager.start_nowait(launch)

    async def _read(self, handle: sidetask.AgentHandle) -> None:
        response = await handle.chat("talk")
        async for _ in response.text_stream():
            self._pieces += 1

    async def end(self) -> int:
        """Stop everything; returns how many pieces were read."""
        pieces = self._pieces
        for reader in self._readers:
            reader.cancel()
        await asyncio.wait(self._readers)
        await self._manager.handle().close()
        await self._runtime.close()
        return pieces
