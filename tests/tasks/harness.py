"""A task manager on the test's clock, with tools that do as they are told, and a log of events."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, cast

from sidetask.core.errors import ToolError
from sidetask.core.events import Event, TaskEnded, TaskEvent
from sidetask.core.ids import ConversationId, TaskId, TurnId
from sidetask.core.jsons import Json, JsonObject
from sidetask.core.messages import ToolCall
from sidetask.core.routing import DEFAULT_POLICY, Route, TaskPolicy, background, foreground
from sidetask.state.state import State as SharedState
from sidetask.stores.memory import MemoryStore
from sidetask.tasks.aio.outbox import Outbox
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.tasks.context import RunContext, StateView
from sidetask.tasks.manager import AsyncTaskManager, RoutingPolicy
from sidetask.tasks.parts.permits import Limits
from sidetask.tasks.parts.runner import Executor
from sidetask.tasks.values import (
    ApprovalNeeded,
    ApprovalRequest,
    Completed,
    Resolution,
    Resolved,
    TaskLaunch,
    ToolOutcome,
    TurnNews,
)
from sidetask.testing import VirtualClock, ignores_cancellation

C = ConversationId("c")
T = TurnId("t")
LIMIT = 10_000.0
"""Virtual seconds that a test waits for anything at most."""
MANUAL = TaskPolicy(delivery="manual")


async def settle() -> None:
    """Let everything run that can run now: virtual time moves only when nothing else does."""
    await asyncio.sleep(1e-6)


def timers() -> int:
    """How many timers the loop still has."""
    scheduled = cast(Any, asyncio.get_running_loop())._scheduled
    return sum(not timer.cancelled() for timer in scheduled)


# -- tools -------------------------------------------------------------------------------------


async def quick(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
    return Completed(call.parsed().get("value", "done"), "done")


async def sleep(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
    await asyncio.sleep(cast(float, call.parsed().get("seconds", 100)))
    return Completed("slept", "slept")


async def stubborn(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
    """Swallows cancellation, and returns late."""
    await ignores_cancellation(cast(float, call.parsed().get("seconds", 100)))
    return Completed("late", "late")


async def fail(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
    raise ToolError("no luck")


async def gated(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
    """Asks before anything happens: one approval for each of the `kinds`."""
    kinds = cast("list[str]", call.parsed().get("kinds", ["tool"]))
    missing = [kind for kind in kinds if not ctx.is_approved(kind, call.digest())]
    if missing:
        return ApprovalNeeded(tuple([ApprovalRequest(kind=kind) for kind in missing]))
    await asyncio.sleep(cast(float, call.parsed().get("seconds", 0)))
    return Completed(call.arguments, call.arguments)


async def asking(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
    """Asks in its body, then works on."""
    await ctx.request_approval("really?", about="it")
    await asyncio.sleep(cast(float, call.parsed().get("seconds", 0)))
    return Completed("approved", "approved")


async def nested(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
    """Spawns itself down to `depth`, and awaits it."""
    depth = cast(int, call.parsed().get("depth", 0))
    if depth == 0:
        await asyncio.sleep(1)
        return Completed(0, "0")
    below = await ctx.spawn("nested", depth=depth - 1)
    return Completed(cast(int, below) + 1, "deeper")


TOOLS: Mapping[str, Executor] = {
    "quick": quick,
    "sleep": sleep,
    "stubborn": stubborn,
    "fail": fail,
    "gated": gated,
    "asking": asking,
    "nested": nested,
}


# -- the bench ---------------------------------------------------------------------------------


class Bench:
    """A manager, its handle, and everything it told."""

    opened: ClassVar[list["Bench"]] = []

    def __init__(
        self,
        clock: VirtualClock,
        tools: Mapping[str, Executor] | None = None,
        *,
        limits: Limits | None = None,
        routing: RoutingPolicy | None = None,
        state: StateView | None = None,
        store: MemoryStore | None = None,
    ) -> None:
        self.store = store or MemoryStore()
        self.outbox = Outbox(self.store, clock)
        self.events: list[Event] = []
        self.outbox.everything.tap(self.events.append)
        self.manager = AsyncTaskManager(
            {**TOOLS, **(tools or {})},
            limits=limits,
            routing=routing,
            outbox=self.outbox,
            state=state,
            store=self.store,
        )
        self.handle = self.manager.handle()
        self.opened.append(self)

    def start(
        self,
        name: str = "sleep",
        arguments: JsonObject | None = None,
        *,
        turn: str | None = "t",
        conversation: str = "c",
        route: Route = foreground(),
        policy: TaskPolicy = DEFAULT_POLICY,
        parent: TaskId | None = None,
        task_id: str | None = None,
        call_id: str = "",
        cancellation: CancelToken | None = None,
    ) -> TaskId:
        """Start a task for a call; by default one that its turn waits for."""
        launch = TaskLaunch(
            call=ToolCall.make(name, arguments, id=call_id),
            conversation_id=ConversationId(conversation),
            turn_id=None if turn is None else TurnId(turn),
            route=route,
            policy=policy,
            parent_id=parent,
            task_id=None if task_id is None else TaskId(task_id),
        )
        return self.manager.start_nowait(launch, cancellation=cancellation).task_id

    def start_in_background(
        self,
        name: str = "sleep",
        arguments: JsonObject | None = None,
        *,
        conversation: str = "c",
        policy: TaskPolicy = DEFAULT_POLICY,
        task_id: str | None = None,
        call_id: str = "",
    ) -> TaskId:
        return self.start(
            name,
            arguments,
            conversation=conversation,
            route=background(),
            policy=policy,
            task_id=task_id,
            call_id=call_id,
        )

    async def news(
        self, turn: str = "t", conversation: str = "c", cancellation: CancelToken | None = None
    ) -> TurnNews:
        """What the turn is told next."""
        async with asyncio.timeout(LIMIT):
            return await self.manager.wait_for_turn(
                ConversationId(conversation), TurnId(turn), cancellation
            )

    async def answer(self, turn: str = "t", conversation: str = "c") -> Resolution:
        """The end that the turn is told of next."""
        news = await self.news(turn, conversation)
        assert isinstance(news, Resolved), news
        return news.resolution

    async def ended(self, task_id: TaskId) -> Resolution:
        async with asyncio.timeout(LIMIT):
            return await self.handle.wait(task_id)

    async def idle(self, conversation: str | None = None) -> None:
        async with asyncio.timeout(LIMIT):
            await self.handle.wait_for_idle(
                None if conversation is None else ConversationId(conversation)
            )

    def pending(self, conversation: str = "c") -> tuple[Resolution, ...]:
        """The background results that the conversation has not acknowledged."""
        return self.manager.take_pending_loop_updates(ConversationId(conversation)).items

    def told(self, task_id: str) -> list[str]:
        """The kinds of all events about a task, in order."""
        return [str(event.kind) for event in self.of_task(task_id)]

    def of_task(self, task_id: str) -> Iterator[TaskEvent]:
        return (
            event
            for event in self.events
            if isinstance(event, TaskEvent) and event.task_id == task_id
        )

    def end_of(self, task_id: str) -> TaskEnded:
        """The one terminal event of a task."""
        [end] = [event for event in self.of_task(task_id) if isinstance(event, TaskEnded)]
        return end

    def kinds(self) -> list[str]:
        return [str(event.kind) for event in self.events]

    @property
    def parts(self) -> Any:
        """The inside, untyped: only leaks are looked for there."""
        return cast(Any, self.manager)._parts

    def record(self, task_id: TaskId) -> Any:
        return self.parts.ledger.records.get(task_id)

    @property
    def leaks(self) -> dict[str, object]:
        """What must be empty once everything has ended and was taken."""
        parts = self.parts
        return {
            "caps": parts.permits._caps,
            "loans": [
                *parts.permits._awaited,
                *parts.permits._borrowers,
                *parts.permits._lenders,
            ],
            "queued tickets": parts.permits.queued,
            "turns": parts.mailbox._turns,
            "boxes": parts.mailbox._boxes,
            "results": parts.mailbox._pending,
            "jobs": parts.engine.find(),
            "working": parts.runner._working,
            "living": [page for page in parts.ledger.records.pages.values() if page.living],
            "busy": parts.ledger.busy,
            "busy conversations": [p for p in parts.ledger.records.pages.values() if p.busy],
            "open approvals": parts.approvals._open,
            "approvals of tasks": parts.approvals._of_task,
            "unread approvals": parts.approvals._unread,
            "waiters for idle": parts.delivery._idle,
        }

    async def assert_no_leaks(self) -> None:
        await settle()
        assert {name: left for name, left in self.leaks.items() if left} == {}


class State(SharedState):
    """A shared state for tests. What tools see of it is fenced by the manager."""

    @property
    def values(self) -> dict[str, Json]:
        return self.snapshot()
