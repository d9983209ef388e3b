"""A live agent with a scripted model on the test's clock, and everything that it told.

Whatever a test does, at its end the history has to be valid, each turn has to have ended
exactly once, and nothing may be left alive.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

from sidetask import Agent, AgentHandle, Event, Runtime, Tool
from sidetask.agents.tools.tool import AnyTool
from sidetask.core.messages import (
    AssistantMessage,
    Message,
    NotificationMessage,
    ToolMessage,
    ToolResult,
    UserMessage,
)
from sidetask.models.base import Model
from sidetask.models.scripted import Script
from sidetask.testing import ScriptedModel, running_runtime

LIMIT = 100_000.0
"""Virtual seconds that a test waits for anything at most."""

T = TypeVar("T")


async def settle() -> None:
    """Let everything run that can run now: virtual time moves only when nothing else does."""
    await asyncio.sleep(1e-6)


class Held:
    """A tool that waits until the test lets it go."""

    def __init__(self, name: str = "held", **options: Any) -> None:
        self.begun = asyncio.Event()
        self.let_go = asyncio.Event()
        self.result: object = f"{name} is done"
        self.runs = 0
        self.tool: AnyTool = Tool.from_schema(
            self._body, {"type": "object"}, name=name, description="Wait.", **options
        )

    async def _body(self, arguments: object, ctx: object) -> object:
        self.runs += 1
        self.begun.set()
        await self.let_go.wait()
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class Talk:
    """One live agent under test."""

    def __init__(self, runtime: Runtime, chat: AgentHandle, model: ScriptedModel) -> None:
        self.runtime = runtime
        self.chat = chat
        self.model = model
        self.events: list[Event] = []
        cast(Any, runtime)._outbox.everything.tap(self._hear)

    def _hear(self, event: Event) -> None:
        if event.conversation_id == self.chat.conversation_id:
            self.events.append(event)

    @property
    def inside(self) -> Any:
        """The conversation, also after its end."""
        return cast(Any, self.chat)._conversation

    @property
    def history(self) -> Sequence[Message]:
        return self.inside.history

    def seen(self, call: int) -> Sequence[Message]:
        """What the model was given at its call number `call`, from 0."""
        return self.model.requests[call].messages

    def answers(self) -> list[ToolResult]:
        """The answers to all calls so far."""
        return [r for m in self.history if isinstance(m, ToolMessage) for r in m.results]

    def told(self) -> list[str]:
        """The notifications so far, by task and status."""
        return [
            f"{item.task_id} {item.status}"
            for message in self.history
            if isinstance(message, NotificationMessage)
            for item in message.items
        ]

    def said(self) -> list[str]:
        """The texts of user and model, in order."""
        return [m.text for m in self.history if isinstance(m, UserMessage | AssistantMessage)]

    def kinds(self) -> list[str]:
        return [str(event.kind) for event in self.events]

    def runs(self) -> list[str]:
        """How the turns ended."""
        return [str(event.kind) for event in self.events if event.kind in RUN_ENDS]

    def check(self) -> None:
        """What holds at the end of every test."""
        assert_valid(self.history)
        for turn in {event.run_id for event in self.events if event.kind == "run_started"}:
            ends = [e.kind for e in self.events if e.run_id == turn and e.kind in RUN_ENDS]
            assert len(ends) == 1, (turn, ends)
        facts = [event.seq for event in self.events if not event.live]
        assert facts == list(range(1, len(facts) + 1))


RUN_ENDS = ("run_completed", "run_failed", "run_cancelled")


def assert_valid(history: Sequence[Message]) -> None:
    """Every call has exactly one answer, in the message that follows, in order."""
    ids: list[str] = []
    owed: list[str] = []
    for message in history:
        if isinstance(message, ToolMessage):
            assert [result.call_id for result in message.results] == owed
            owed = []
            continue
        assert not owed, f"unanswered: {owed}"
        if isinstance(message, AssistantMessage):
            owed = [call.id for call in message.calls]
            ids += owed
    assert not owed, f"unanswered: {owed}"
    assert all(ids)
    assert len(set(ids)) == len(ids)


@asynccontextmanager
async def talking(
    *script: Script | Model,
    tools: Sequence[AnyTool | Callable[..., Any]] = (),
    runtime: dict[str, Any] | None = None,
    deps: object = None,
    triggers: Sequence[Any] = (),
    **config: Any,
) -> AsyncGenerator[Talk, None]:
    """Open an agent whose model plays this script."""
    model = ScriptedModel(*cast(Any, script))
    agent = Agent(cast(Any, model), tools=tools, **config)
    async with asyncio.timeout(LIMIT), running_runtime(**(runtime or {})) as used:
        async with used.open(agent, deps=deps, triggers=triggers) as chat:
            talk = Talk(used, chat, model)
            yield talk
        talk.check()


async def beside(work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """Begin something in an asyncio task of its own, and let it come as far as it can."""
    task = asyncio.create_task(work)
    await settle()
    return task
