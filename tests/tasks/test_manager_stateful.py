"""The manager under any sequence of what models, users, hosts and time may do to it."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from sidetask.core.errors import (
    DuplicateTaskError,
    InvalidInputError,
    ManagerClosedError,
    TooManyTasksError,
)
from sidetask.core.ids import ConversationId, TaskId, TurnId
from sidetask.core.messages import ToolCall
from sidetask.core.routing import (
    OnCompleteLike,
    Route,
    TaskPolicy,
    background,
    detach_after,
    foreground,
)
from sidetask.tasks.values import Approval, Pending, TaskLaunch, TurnUpdate
from tests.tasks.machine import CONVERSATIONS, TURNS, Call, World

conversations = st.sampled_from(CONVERSATIONS)
turns = st.sampled_from(TURNS)
routes = st.sampled_from([foreground(), foreground(), background(), detach_after(2)])
picks = st.integers(0, 1_000)
IDLE: dict[str, Any] = {
    "seconds": 0,
    "asks": [],
    "asks_in_body": False,
    "patience": None,
    "child": False,
    "fails": False,
    "stubborn": 0,
}
shapes = st.sampled_from(  # few, so that the same call is often made again
    [
        {**IDLE, "seconds": 5},
        {**IDLE, "seconds": 5, "stubborn": 50},
        {**IDLE, "seconds": 3, "stubborn": 2},
        {**IDLE, "fails": True},
        {**IDLE, "asks": ["tool"], "seconds": 1},
        {**IDLE, "asks": ["tool", "policy"], "stubborn": 5, "seconds": 5},
        {**IDLE, "asks_in_body": True, "seconds": 3},
        {**IDLE, "asks_in_body": True, "stubborn": 20},
        {**IDLE, "asks_in_body": True, "patience": 2, "seconds": 5},
        {**IDLE, "asks": ["tool"], "asks_in_body": True, "child": True},
        {**IDLE, "child": True, "seconds": 4, "stubborn": 8},
    ]
)
policies = st.sampled_from(
    [
        TaskPolicy(),
        TaskPolicy(on_duplicate="join"),
        TaskPolicy(on_duplicate="join", on_interrupt="keep", grace=3),
        TaskPolicy(on_duplicate="reject", on_complete="notify"),
        TaskPolicy(on_duplicate="replace", grace=1),
        TaskPolicy(delivery="manual", on_interrupt="keep"),
        TaskPolicy(timeout=2, grace=3, on_complete="interrupt"),
        TaskPolicy(cap=1, exclusive=True),
        TaskPolicy(control=True, delivery="manual", timeout=4),
    ]
)


class TheManager(RuleBasedStateMachine):
    """Rules are what people, models and time do."""

    @initialize(
        seed=st.integers(0, 10_000),
        first=st.lists(st.tuples(conversations, turns, shapes, routes, policies), max_size=6),
    )
    def open(self, seed: int, first: list[tuple[Any, ...]]) -> None:
        self.world = World(seed)
        self.bench = self.world.bench
        for conversation, turn, shape, route, policy in first:
            self.launched(conversation, turn, shape, route, policy)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.world.finish()
        finally:
            self.world.close_loop()

    def task(self, pick: int) -> TaskId | None:
        tasks = self.bench.handle.list()[-8:]
        return tasks[pick % len(tasks)].id if tasks else None

    def approval(self, pick: int) -> Approval | None:
        approvals = self.bench.handle.approvals()
        return approvals[pick % len(approvals)] if approvals else None

    def launched(
        self,
        conversation: ConversationId,
        turn: TurnId,
        shape: dict[str, Any],
        route: Route,
        policy: TaskPolicy,
        *,
        stop: bool = False,
    ) -> None:
        call = ToolCall.make("work", shape, id=f"call-{len(self.world.calls) + 1}")
        launch = TaskLaunch(
            call=call, conversation_id=conversation, turn_id=turn, route=route, policy=policy
        )
        try:
            pending = self.world.do(lambda: self._start(launch, stop=stop))
        except ManagerClosedError:
            assert self.world.closed
            return
        except DuplicateTaskError:
            assert policy.on_duplicate == "reject"
            return
        except TooManyTasksError:
            return
        assert not self.world.closed
        waits = turn if pending.kind == "foreground" else None
        self.world.calls[call.id] = Call(call.id, conversation, waits, pending.task_id)

    def _start(self, launch: TaskLaunch, *, stop: bool) -> Pending:
        assert launch.turn_id is not None
        turn = self.world.token(launch.conversation_id, launch.turn_id)
        pending = self.bench.manager.start_nowait(launch, cancellation=turn)
        if stop:
            self.bench.handle.task(pending.task_id).cancel("in the same tick")
        return pending

    # -- models --------------------------------------------------------------------------------

    @rule(
        conversation=conversations,
        turn=turns,
        shape=shapes,
        route=routes,
        policy=policies,
        stop=st.sampled_from([False, False, False, True]),
    )
    def launch(
        self,
        conversation: ConversationId,
        turn: TurnId,
        shape: dict[str, Any],
        route: Route,
        policy: TaskPolicy,
        stop: bool,
    ) -> None:
        self.launched(conversation, turn, shape, route, policy, stop=stop)

    @rule(conversation=conversations, turn=turns)
    def listen(self, conversation: ConversationId, turn: TurnId) -> None:
        self.world.listen(conversation, turn)

    @rule(conversation=conversations)
    def take(self, conversation: ConversationId) -> None:
        self.world.take(conversation)

    # -- users ---------------------------------------------------------------------------------

    @rule(conversation=conversations, turn=turns)
    def interrupt(self, conversation: ConversationId, turn: TurnId) -> None:
        def stop() -> list[TurnUpdate]:
            self.world.token(conversation, turn).cancel("stop")
            return self.bench.manager.on_turn_interrupted(conversation, turn)

        for update in self.world.do(stop):
            self.world.enter(conversation, turn, update)
        assert all(call.answers for call in self.world.waiting(conversation, turn))

    @rule(pick=picks, changed=st.none() | shapes)
    def approve(self, pick: int, changed: dict[str, Any] | None) -> None:
        approval = self.approval(pick)
        if approval is None:
            return
        arguments = changed and {**changed, "asks": approval.call.parsed()["asks"]}
        try:
            self.world.do(
                lambda: self.bench.handle.approve(approval.id, by="ana", arguments=arguments)
            )
        except InvalidInputError:
            assert approval.kind == "body"

    @rule(pick=picks)
    def deny(self, pick: int) -> None:
        approval = self.approval(pick)
        if approval is not None:
            self.world.do(lambda: self.bench.handle.deny(approval.id, "no", by="bob"))

    # -- hosts ---------------------------------------------------------------------------------

    @rule(pick=picks)
    def detach(self, pick: int) -> None:
        task = self.task(pick)
        if task is not None:
            self.world.do(lambda: self.bench.handle.detach(task))

    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        task = self.task(pick)
        if task is not None:
            self.world.do(lambda: self.bench.handle.task(task).cancel("by hand"))

    @rule(pick=picks, grace=st.sampled_from([0, 1, 5, None]))
    def cancel_and_wait(self, pick: int, grace: float | None) -> None:
        task = self.task(pick)
        if task is not None:
            self.world.aside(self.bench.handle.cancel(task, grace=grace))

    @rule(pick=picks, on_complete=st.sampled_from(["continue", "notify", "interrupt"]))
    def change_completion(self, pick: int, on_complete: OnCompleteLike) -> None:
        task = self.task(pick)
        if task is None:
            return
        try:
            self.world.do(lambda: self.bench.handle.set_on_complete(task, on_complete))
        except InvalidInputError:
            assert self.bench.handle.get(task).finished_at is not None

    @rule(pick=picks, to_loop=st.booleans())
    def change_delivery(self, pick: int, to_loop: bool) -> None:
        task, mode = self.task(pick), "to_loop" if to_loop else "manual"
        if task is None:
            return
        try:
            self.world.do(lambda: self.bench.handle.set_delivery_mode(task, mode))
        except InvalidInputError:
            assert self.bench.handle.get(task).finished_at is not None

    @precondition(lambda self: len(self.world.calls) > 3)
    @rule(grace=st.sampled_from([0, 2]), sure=st.sampled_from([False, False, True]))
    def close(self, grace: float, sure: bool) -> None:
        if sure:
            self.world.closed = True
            self.world.aside(self.bench.handle.close(grace))

    # -- time ----------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 1, 2, 3, 10, 60]))
    def wait(self, seconds: float) -> None:
        self.world.run(asyncio.sleep(seconds))

    @rule()
    def tick(self) -> None:
        self.world.run(asyncio.sleep(0))

    @invariant()
    def all_promises_hold(self) -> None:
        self.world.check()


TheManager.TestCase.settings = settings(  # pyright: ignore[reportUnknownMemberType]
    max_examples=60,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.slow
class TestTheManager(TheManager.TestCase):  # pyright: ignore[reportUnknownMemberType, reportUntypedBaseClass]
    """Collected under this name."""
