"""A flow at work: in a conversation with a scripted model, or alone on a state of the test's."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from sidetask import Tool
from sidetask.agents.governor import Seat
from sidetask.agents.tools.tool import AnyTool
from sidetask.core.ids import ConversationId
from sidetask.core.jsons import Json
from sidetask.core.messages import ToolCall
from sidetask.models.scripted import Script
from sidetask.orchestration.flow import Flow
from sidetask.orchestration.flows.live import LiveFlow
from sidetask.orchestration.functions import as_agent
from sidetask.state import State, StateView
from sidetask.stores.memory import MemoryStore
from sidetask.tasks.aio.clock import SystemClock
from sidetask.tasks.aio.outbox import Outbox
from sidetask.tasks.manager import AsyncTaskManager
from tests.runtime.harness import Talk, settle, talking

HERE = ConversationId("here")


def plain(name: str) -> AnyTool:
    """A tool that says its name."""

    async def body(arguments: object, ctx: object) -> str:
        return f"{name} ran"

    return Tool.from_schema(body, {"type": "object"}, name=name, description="Run.")


TOOLS = [plain(name) for name in ("ask", "offer", "pay", "search")]


class Slow:
    """An agent that ends when the test says so."""

    def __init__(self, name: str) -> None:
        self.begun = 0
        self.given: list[Json] = []
        self.result: object = f"{name} is done"
        self._let_go: asyncio.Event = asyncio.Event()
        self.agent = as_agent(self._invoke, name=name)

    def let_go(self) -> None:
        self._let_go.set()

    async def _invoke(self, input: Json, state: StateView) -> Json:
        self.begun += 1
        self.given.append(input)
        await self._let_go.wait()
        self._let_go.clear()
        if isinstance(self.result, Exception):
            raise self.result
        return cast("Json", self.result)


@asynccontextmanager
async def ordering(
    flow: Flow, *script: Script, tools: Sequence[AnyTool] = TOOLS, **config: Any
) -> AsyncGenerator[Talk]:
    """A conversation that the flow governs."""
    async with talking(*script, tools=tools, flow=flow, **config) as talk:
        yield talk


@asynccontextmanager
async def governing(
    flow: Flow, state: State, *, is_guest: bool = False
) -> AsyncGenerator[LiveFlow]:
    """The flow alone, on this state, as a restart finds it."""
    outbox = Outbox(MemoryStore(), SystemClock())
    manager = AsyncTaskManager(outbox=outbox)
    seat = Seat(
        conversation_id=HERE,
        state=state,
        is_guest=is_guest,
        tools={tool.name: tool for tool in TOOLS},
        manager=manager,
        events=outbox.journal(HERE),
    )
    live = flow.govern(seat)
    try:
        yield live
    finally:
        await live.close()
        await manager.handle().close()


def refused(talk: Talk) -> list[str]:
    """What the model read of calls that were not made."""
    return [answer.content for answer in talk.answers() if answer.is_error]


def judged(live: LiveFlow, tool: str) -> str | None:
    """What a call of the tool would be told."""
    return live.check(ToolCall.make(tool))


def stage(state: StateView, step: str, flow: str = "order") -> Json:
    """How far a step is."""
    return state.get(f"flow:{flow}:step:{step}")


__all__ = ["Slow", "governing", "judged", "ordering", "plain", "refused", "settle", "stage"]
