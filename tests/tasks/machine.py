"""What is known of a manager from outside, and what must be true of it after every step.

A call is answered by its turn (an end or a receipt) or by a notice. The book keeps every answer
that any call ever had; the checks look at nothing but events, snapshots and answers.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from sidetask.core.errors import AlreadyDecidedError, TaskFencedError
from sidetask.core.events import ContinueRequested, Event, TaskDetached, TaskEnded, TaskEvent
from sidetask.core.ids import ConversationId, TaskId, TurnId
from sidetask.core.lifecycle import BUSY, TERMINAL
from sidetask.core.messages import ToolCall
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.tasks.context import RunContext
from sidetask.tasks.parts.permits import Limits
from sidetask.tasks.values import (
    ApprovalNeeded,
    ApprovalRequest,
    Completed,
    Detached,
    Resolution,
    Resolved,
    TaskSnapshot,
    ToolOutcome,
    TurnCancelled,
    TurnNews,
    TurnSettled,
    TurnUpdate,
)
from sidetask.testing import ShuffledClock, ignores_cancellation
from tests.tasks.harness import Bench, State

T = TypeVar("T")
CONVERSATIONS = (ConversationId("c"), ConversationId("d"))
BROKEN: list[str] = []
"""What tools found to be wrong."""
WORKING: set[TaskId] = set()
"""The tasks whose tools are at work."""
CHILD: dict[str, Any] = {"child": False, "asks": []}
TURNS = (TurnId("t"), TurnId("u"))


async def work(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
    """Asks first, if its arguments say so, and then works."""
    shape = cast("dict[str, Any]", call.parsed())
    missing = [kind for kind in shape["asks"] if not ctx.is_approved(kind, call.digest())]
    if missing:
        return ApprovalNeeded(tuple([ApprovalRequest(kind=kind) for kind in missing]))
    token = ctx.cancelled
    WORKING.add(ctx.task_id)
    try:
        await _work(shape, ctx)
    except asyncio.CancelledError:
        if not token:
            BROKEN.append(f"{ctx.task_id} was cancelled, and its token did not tell")
        if not shape["stubborn"]:
            raise
        await ignores_cancellation(shape["stubborn"])
        with suppress(TaskFencedError):
            ctx.state.set("late", ctx.task_id)
    else:
        if token:
            BROKEN.append(f"{ctx.task_id} saw a cancellation that was not its own")
    finally:
        WORKING.discard(ctx.task_id)
    return Completed(ctx.task_id, "done")


async def _work(shape: dict[str, Any], ctx: RunContext[Any]) -> None:
    if shape["asks_in_body"]:
        with suppress(TimeoutError):
            async with asyncio.timeout(shape["patience"]):
                await ctx.request_approval("go on?")
    await ctx.progress(0.5)
    child = ctx.spawn("work", **{**shape, **CHILD}) if shape["child"] else None
    await asyncio.sleep(shape["seconds"])
    if child is not None:
        await child
    if shape["fails"]:
        raise ValueError("as asked for")


@dataclass
class Call:
    """What the model asked for, and every answer it got."""

    id: str
    conversation: ConversationId
    turn: TurnId | None
    """The turn that waits; None: nobody does."""
    task: TaskId
    answers: list[str] = field(default_factory=list[str])
    """By its turn: `receipt`, or the status of its end."""
    notices: list[str] = field(default_factory=list[str])

    @property
    def is_over(self) -> bool:
        if self.turn is None:
            return (len(self.answers), len(self.notices)) == (0, 1)
        return len(self.answers) == 1 and len(self.notices) == (self.answers == ["receipt"])


class World:
    """A manager on a loop of its own, and the book of its calls."""

    def __init__(self, seed: int) -> None:
        self.clock = ShuffledClock(seed)
        self.loop = self.clock.new_loop()
        self.state = State()
        self.turns: dict[tuple[ConversationId, TurnId], CancelToken] = {}
        BROKEN.clear()
        WORKING.clear()
        self.calls: dict[str, Call] = {}
        self.closed = False
        self.side_work: list[asyncio.Task[Any]] = []
        self.told_to_continue: list[tuple[TaskId, bool]] = []
        self.bench = self.do(self._open)

    def _open(self) -> Bench:
        limits = Limits(step=2, conversation=3, total=4, approval_age=30)
        bench = Bench(self.clock, {"work": work}, limits=limits, state=self.state)
        bench.outbox.everything.tap(self._hear)
        return bench

    def _hear(self, event: Event) -> None:
        abandoned = getattr(event, "abandoned", False)
        if isinstance(event, TaskEnded) and event.task_id in WORKING and not abandoned:
            BROKEN.append(f"{event.task_id} ended while its work went on")
        if isinstance(event, ContinueRequested):
            for task in event.task_ids:
                to_loop = self.bench.record(task).to_loop
                self.told_to_continue.append((task, to_loop))

    def token(self, conversation: ConversationId, turn: TurnId) -> CancelToken:
        """The token of the run that this turn is."""
        token = self.turns.get((conversation, turn))
        if token is None or token.is_cancelled:
            token = self.turns[conversation, turn] = CancelToken()
        return token

    # -- acting --------------------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def do(self, act: Callable[[], T]) -> T:
        """Act in the loop, and let it go on for a tick."""

        async def acting() -> T:
            return act()

        return self.run(acting())

    def aside(self, work: Coroutine[Any, Any, Any]) -> None:
        """Start something that takes its time."""

        async def start() -> None:
            self.side_work.append(asyncio.create_task(work))

        self.run(start())

    def listen(self, conversation: ConversationId, turn: TurnId) -> TurnNews:
        """What the turn is told now: a cancelled token never waits."""
        token = CancelToken()
        token.cancel("only looking")
        news = self.run(self.bench.manager.wait_for_turn(conversation, turn, token))
        open_calls = [call for call in self.waiting(conversation, turn) if not call.answers]
        match news:
            case Resolved() | Detached():
                self.enter(conversation, turn, news)
            case TurnSettled():
                assert open_calls == []
            case TurnCancelled():
                assert open_calls != []
        return news

    def take(self, conversation: ConversationId) -> None:
        """Take and acknowledge what is there, for the loop and for the host."""

        def taking() -> list[Resolution]:
            items = list(self.bench.manager.take_pending_loop_updates(conversation).items)
            assert self.bench.manager.take_pending_loop_updates(conversation).items == tuple(items)
            self.bench.manager.ack(conversation, [item.task_id for item in items])
            self._assert_in_completion_order(items)
            drained = self.bench.handle.drain_ready_items(conversation)
            results = [item for item in drained if isinstance(item, Resolution)]
            self._assert_in_completion_order(results)
            return items + results

        for item in self.do(taking):
            assert item.conversation_id == conversation
            for call_id in item.call_ids:
                self.calls[call_id].notices.append(str(item.status))
                assert self.calls[call_id].conversation == conversation

    def _assert_in_completion_order(self, items: list[Resolution]) -> None:
        ends = [event.task_id for event in self.bench.events if isinstance(event, TaskEnded)]
        places = [ends.index(item.task_id) for item in items]
        assert places == sorted(places)

    def enter(self, conversation: ConversationId, turn: TurnId, update: TurnUpdate) -> None:
        """A turn was told of some of its calls."""
        receipt = isinstance(update, Detached)
        call_ids = update.call_ids if receipt else update.resolution.call_ids
        assert call_ids
        for call_id in call_ids:
            call = self.calls[call_id]
            assert (call.conversation, call.turn) == (conversation, turn)
            call.answers.append("receipt" if receipt else str(update.resolution.status))

    def waiting(self, conversation: ConversationId, turn: TurnId) -> list[Call]:
        where = (conversation, turn)
        return [call for call in self.calls.values() if (call.conversation, call.turn) == where]

    # -- what must be true ---------------------------------------------------------------------

    def check(self) -> None:
        self._check_events()
        self._check_tasks()
        self._check_idle()
        for call in self.calls.values():
            assert len(call.answers) <= (call.turn is not None), call
            assert len(call.notices) <= (call.answers in ([], ["receipt"])), call
        assert all(to_loop for _, to_loop in self.told_to_continue)
        assert BROKEN == []
        assert self.state.values == {}  # no attempt that was over could write

    def _check_events(self) -> None:
        seqs = dict.fromkeys(CONVERSATIONS, 0)
        ended: set[TaskId] = set()
        for event in self.bench.events:
            if not event.live:
                seqs[event.conversation_id] += 1
                assert event.seq == seqs[event.conversation_id], "a gap"
            if isinstance(event, TaskEvent):
                assert event.task_id not in ended, "an event after the end"
                if isinstance(event, TaskEnded):
                    ended.add(event.task_id)
            if isinstance(event, ContinueRequested):
                assert ended.issuperset(event.task_ids), "the end precedes its request"

    def _check_tasks(self) -> None:
        ended = {event.task_id for event in self.bench.events if isinstance(event, TaskEnded)}
        detached = {event.task_id for event in self.bench.events if isinstance(event, TaskDetached)}
        for task in self.bench.handle.list():
            assert (task.status in TERMINAL) == (task.id in ended)
            assert task.detached == (task.id in detached)
            places = {call.conversation for call in self.calls.values() if call.task == task.id}
            assert places <= {task.conversation_id}
        open_for = {approval.task_id for approval in self.bench.handle.approvals()}
        asking = {task.id for task in self.bench.handle.list(status="awaiting_approval")}
        stopping = {task for task in asking if self.bench.record(task).fenced}
        assert open_for == asking - stopping

    def _check_idle(self) -> None:
        """Idle is told at once if nothing is queued, running or stopping, and else not."""

        async def check() -> None:
            for scope in (None, *CONVERSATIONS):
                tasks = self.bench.handle.list(conversation_id=scope)
                waiting = self.bench.handle.wait_for_idle(scope)
                try:
                    waiting.send(None)
                except StopIteration:
                    assert not any(self._at_work(task) for task in tasks)
                else:
                    assert any(self._at_work(task) for task in tasks)
                    waiting.close()

        self.run(check())

    def _at_work(self, task: TaskSnapshot) -> bool:
        stopping = task.status not in TERMINAL and self.bench.record(task.id).fenced
        return task.status in BUSY or stopping

    # -- the end -------------------------------------------------------------------------------

    def finish(self) -> None:
        """Let everything end, take everything, and look for what is left."""
        if not self.closed:
            self._deny_all()
        self.run(asyncio.sleep(1_000))
        for conversation in CONVERSATIONS:
            for turn in TURNS:
                while not isinstance(self.listen(conversation, turn), TurnSettled):
                    pass
            self.take(conversation)
        self.check()
        assert [call for call in self.calls.values() if not call.is_over] == []
        assert all(task.done() for task in self.side_work)
        self.run(self.bench.assert_no_leaks())

    def _deny_all(self) -> None:
        while any(not call.is_over for call in self.calls.values()):
            before = len(self.bench.events)
            self.run(asyncio.sleep(100))
            for approval in self.do(self.bench.handle.approvals):
                with suppress(AlreadyDecidedError):  # withdrawn, as its sibling was denied
                    self.do(lambda approval=approval: self.bench.handle.deny(approval.id, by="end"))
            if before == len(self.bench.events):
                return

    def close_loop(self) -> None:
        self.run(self.bench.handle.close(grace=0))
        self.run(asyncio.sleep(1_000))
        self.loop.close()
