"""Starting tasks and hearing of their ends: the loop's side.

A task never changes owner. Foreground, background and detached differ only in who waits, so
detaching moves nothing. The manager wires parts that are understandable alone: the ledger
(who is who), permits (who may run), the runner (who carries out), the mailbox (who hears).
Every launch goes through one engine, every event through one outbox, every taking has an
acknowledgement.
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from sidetask.core.errors import (
    DuplicateTaskError,
    InvalidInputError,
    ManagerClosedError,
    TooManyTasksError,
    UnknownToolError,
)
from sidetask.core.events import TaskCancelled
from sidetask.core.ids import ConversationId, TaskId, TurnId
from sidetask.core.messages import ToolCall
from sidetask.core.routing import OnDuplicate, Route, TaskKind
from sidetask.engines.base import Engine
from sidetask.engines.memory import MemoryEngine
from sidetask.stores.base import Store
from sidetask.stores.memory import MemoryStore
from sidetask.tasks.aio.clock import SystemClock
from sidetask.tasks.aio.outbox import Outbox
from sidetask.tasks.aio.sleepers import Sleepers
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.tasks.context import ChildTask, StateView
from sidetask.tasks.elsewhere import Placement
from sidetask.tasks.handle import ManagerHandle
from sidetask.tasks.parts.mailbox import Mailbox
from sidetask.tasks.parts.permits import Limits, Permits
from sidetask.tasks.parts.records import Ending, Keeping, Past, TaskRecord
from sidetask.tasks.parts.runner import Executor, Scope
from sidetask.tasks.remote.opening import check_placement, open_elsewhere
from sidetask.tasks.values import (
    LoopUpdates,
    Pending,
    Resolution,
    Resolved,
    StartResult,
    TaskLaunch,
    TaskObserver,
    TurnNews,
    TurnUpdate,
)
from sidetask.tasks.wiring import Parts, assemble

if TYPE_CHECKING:  # for who keeps tasks: every program has this module
    from sidetask.tasks.durable.keeper import StoreKeeper
    from sidetask.tasks.durable.kept import KeptTasks

RoutingPolicy = Callable[[ToolCall], Route | None]
"""Says how a call is carried out; None: as its tool says."""


class TaskManager(Protocol):
    """What a loop uses to carry out calls. Two implementations: inline, and as tasks."""

    async def start_task(
        self, launch: TaskLaunch, *, cancellation: CancelToken | None = None
    ) -> StartResult:
        """Carry a call out: `Ready` with its end, or `Pending` with its task, at once. Where a
        store keeps tasks, it is kept when `stored` returns: calls of one step wait together.

        Raises:
            UnknownToolError: Nothing is registered under this name.
            DuplicateTaskError: The id is alive, or the policy rejects a duplicate.
            TooManyTasksError: A queue is full; nothing was started.
            ManagerClosedError: The manager takes no new work.
        """
        ...

    async def stored(self) -> None:
        """Wait until all that was started is safe.

        Raises:
            StoreError: It could not be stored.
        """
        ...

    def wait_for_turn(
        self,
        conversation_id: ConversationId,
        turn_id: TurnId,
        cancellation: CancelToken | None = None,
    ) -> Coroutine[Any, Any, TurnNews]:
        """The oldest update of the turn, else `TurnSettled` if it waits for nothing, else
        `TurnCancelled` if the token is cancelled, else wait. Updates beat cancellation."""
        ...

    def take_pending_loop_updates(self, conversation_id: ConversationId) -> LoopUpdates:
        """Background results for the next model call; given again until `ack`."""
        ...

    def ack(self, conversation_id: ConversationId, task_ids: Iterable[TaskId]) -> None:
        """These results are part of the history now."""
        ...

    def on_turn_interrupted(
        self, conversation_id: ConversationId, turn_id: TurnId
    ) -> list[TurnUpdate]:
        """Cancel or keep all that the turn waits for, as their policies say; the background
        lives. Returns what the turn was not told yet, so that every call has its answer."""
        ...


class AsyncTaskManager(TaskManager):
    """Carries every call out as a task."""

    def __init__(  # noqa: PLR0913 - each is one choice of the host
        self,
        executors: Mapping[str, Executor] | None = None,
        *,
        deps: object = None,
        state: StateView | None = None,
        limits: Limits | None = None,
        routing: RoutingPolicy | None = None,
        outbox: Outbox | None = None,
        engine: Engine | None = None,
        store: Store | None = None,
        keeper: Keeping | None = None,
        placement: Placement = "auto",
    ) -> None:
        """`store`: where tasks are kept. One that survives the process keeps them for the next.
        `keeper`: who keeps them instead, where that is no store. `placement`: where background
        calls run, if other processes share the store."""
        check_placement(placement, store)
        self._limits = limits or Limits()
        self._default = Scope(executors or {}, deps, state)
        self._scopes: dict[ConversationId, Scope] = {}
        self.executors: dict[str, Executor] = {}
        """For every conversation that has no own of the name."""
        self._routing = routing
        self._closed = False
        outbox = outbox or Outbox(MemoryStore(), SystemClock())
        kept = None
        if store is not None and store.durable:
            kept = _keep(store, outbox)
            engine = engine or _journal_steps(store, outbox)
        self._parts: Parts = assemble(
            outbox,
            engine or MemoryEngine(),
            self._limits,
            find_work=self._find_work,
            spawn=self._spawn,
            route_of=self._route_of,
            keeper=kept or keeper,
        )
        self.kept: KeptTasks | None = None
        """What a store that survives the process adds; None: there is none."""
        if store is not None and kept is not None:
            self.kept = _take_up(self._parts, kept, store, placement)
        self._parts.runner.desk.owner = self
        self._handle = ManagerHandle(self._parts, self._close)

    def handle(self) -> ManagerHandle:
        """The host's side."""
        return self._handle

    def open_conversation(self, conversation_id: ConversationId, scope: Scope) -> None:
        """Give a conversation tools, dependencies and a state of its own."""
        self._scopes[conversation_id] = scope
        if self.kept is not None:
            self.kept.open(conversation_id)

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def permits(self) -> Permits:
        """Who may run; to look at."""
        return self._parts.permits

    @property
    def mailbox(self) -> Mailbox:
        """What nobody has taken yet; for who keeps it."""
        return self._parts.mailbox

    def forget(self, conversation_id: ConversationId) -> None:
        """Drop what is remembered of a conversation whose tasks have ended."""
        self._scopes.pop(conversation_id, None)
        self._parts.mailbox.forget(conversation_id)
        self._parts.ledger.records.forget_all(conversation_id)
        self._parts.outbox.forget(conversation_id)

    # -- starting --------------------------------------------------------------------------

    async def start_task(
        self, launch: TaskLaunch, *, cancellation: CancelToken | None = None
    ) -> StartResult:
        return self.start_nowait(launch, cancellation=cancellation)

    async def stored(self) -> None:
        await self._parts.outbox.stored()

    def start_nowait(
        self,
        launch: TaskLaunch,
        *,
        cancellation: CancelToken | None = None,
        observer: TaskObserver | None = None,
    ) -> Pending:
        """Start a task and return at once. Raises as `start_task` does."""
        route = launch.route
        if self._routing is not None and launch.executor is None:
            route = self._route_of(launch.call, route)
        self._admit(launch, route)
        policy = launch.policy
        twin = self._twin(launch) if policy.on_duplicate is not OnDuplicate.ALLOW else None
        if twin is not None:
            match policy.on_duplicate:
                case OnDuplicate.JOIN:
                    return Pending(twin.id, self._parts.turns.join(twin, launch))
                case OnDuplicate.REJECT:
                    raise DuplicateTaskError(twin.id, "the same call is running")
                case _:
                    self._parts.runner.stop(twin, Ending(TaskCancelled, "replaced by a new call"))
        record = self._parts.ledger.create(launch, route.kind)
        self._enter(record, cancellation)
        if observer is not None:
            record.observer = observer
            try:
                observer.entered(record.id)
            except BaseException:  # the one boundary: who wanted the task wants it no more
                self._parts.runner.stop(record, Ending(TaskCancelled, "it could not begin"))
                raise
        self._parts.runner.launch(record, route)
        return Pending(record.id, record.kind)

    def _admit(self, launch: TaskLaunch, route: Route) -> None:
        if self._closed:
            raise ManagerClosedError
        self._find_work(launch, launch.call)
        if self._parts.permits.queued >= self._limits.queued:
            raise TooManyTasksError("too many tasks are queued", self._limits.queued)
        if launch.task_id is not None and self._parts.mailbox.holds(
            launch.conversation_id, launch.task_id
        ):
            raise DuplicateTaskError(launch.task_id, "its result was not delivered yet")
        limit = self._limits.undelivered
        if (
            route.kind is TaskKind.BACKGROUND
            and self._parts.mailbox.undelivered(launch.conversation_id) >= limit
        ):
            raise TooManyTasksError("too many results were not taken", limit)

    def _enter(self, record: TaskRecord, cancellation: CancelToken | None) -> None:
        launch = record.launch
        if record.in_step and launch.turn_id is not None:
            mailbox, turn = self._parts.mailbox, launch.turn_id
            mailbox.expect(launch.conversation_id, turn, record.id)
            if record.resolution is not None:  # who heard that it was there has stopped it
                news = Resolved(record.resolution)
                mailbox.tell_turn(launch.conversation_id, turn, record.id, news)
            if launch.policy.on_interrupt != "keep":
                record.turn_token = cancellation
        if launch.parent_id is not None:
            parent = self._parts.ledger.records.get(launch.parent_id)
            if parent.children is None:
                parent.children = {}
            parent.children[record.id] = record
            if parent.past is not None:
                record.past = Past()

    def _twin(self, launch: TaskLaunch) -> TaskRecord | None:
        """The living task that does this very work already."""
        name, work = launch.call.name, _work_of(launch.call)
        for record in self._parts.ledger.records.living(launch.conversation_id):
            if not record.fenced and record.call.name == name and work == _work_of(record.call):
                return record if work is not None else None
        return None

    def _spawn(self, parent: TaskRecord, call: ToolCall, task_id: TaskId | None) -> ChildTask:
        launch = TaskLaunch(
            call=call,
            conversation_id=parent.launch.conversation_id,
            run_id=parent.launch.run_id,
            parent_id=parent.id,
            task_id=task_id,
        )
        return self._handle.task(self.start_nowait(launch).task_id)

    def _route_of(self, call: ToolCall, default: Route) -> Route:
        return (self._routing(call) if self._routing is not None else None) or default

    def _find_work(self, launch: TaskLaunch, call: ToolCall) -> tuple[Executor, Scope]:
        scope = self._scopes.get(launch.conversation_id, self._default)
        name = launch.executor or call.name
        executor = scope.executors.get(name) or self.executors.get(name)
        if executor is None:
            raise UnknownToolError(name, scope.executors)
        return executor, scope

    # -- hearing ---------------------------------------------------------------------------

    def wait_for_turn(
        self,
        conversation_id: ConversationId,
        turn_id: TurnId,
        cancellation: CancelToken | None = None,
    ) -> Coroutine[Any, Any, TurnNews]:
        return self._parts.mailbox.wait_for_turn(conversation_id, turn_id, cancellation)

    def take_pending_loop_updates(self, conversation_id: ConversationId) -> LoopUpdates:
        return self._parts.mailbox.take(conversation_id)

    def ack(self, conversation_id: ConversationId, task_ids: Iterable[TaskId]) -> None:
        self._parts.mailbox.ack(conversation_id, task_ids)

    def is_busy(self, conversation_id: ConversationId) -> bool:
        """Whether a task of the conversation is queued or running."""
        return self._parts.ledger.is_busy(conversation_id)

    @property
    def quiet_sleepers(self) -> Callable[[ConversationId], Sleepers]:
        """Who is woken when a conversation is not busy any more."""
        return self._parts.delivery.quiet_sleepers

    def wants_turn(self, conversation_id: ConversationId) -> tuple[TaskId, ...]:
        """The results that ask for a turn of their own."""
        return self._parts.mailbox.wants_turn(conversation_id)

    def claim(self, conversation_id: ConversationId, task_id: TaskId, by: TaskId) -> Resolution:
        """Read an ended task's result as part of the result of task `by`: delivered with that
        one, and not again."""
        self._parts.mailbox.claim(conversation_id, task_id, by)
        resolution = self._parts.ledger.records.get(task_id).resolution
        assert resolution is not None
        return resolution

    def on_turn_interrupted(
        self, conversation_id: ConversationId, turn_id: TurnId
    ) -> list[TurnUpdate]:
        return self._parts.turns.interrupt(conversation_id, turn_id)

    # -- closing ---------------------------------------------------------------------------

    async def _close(self, grace: float) -> list[TaskId]:
        if not self._closed:
            self._closed = True
            self._parts.delivery.closing = True
            for record in list(self._parts.ledger.records.all()):
                self._parts.runner.stop(record, Ending(TaskCancelled, "closing"), grace)
        for record in list(self._parts.ledger.records.all()):  # those that wait for approval too
            await self._parts.delivery.wait_ended(record)
        abandoned = self._parts.runner.abandoned()
        self._parts.asking.close()
        if self.kept is not None:
            await self.kept.close(grace)
        await self._parts.engine.close()
        self._parts.outbox.close()
        return abandoned


def _work_of(call: ToolCall) -> str | None:
    """What two calls of the same work have in common; None: its arguments are no JSON."""
    try:
        return call.digest()
    except InvalidInputError:
        return None


def _keep(store: Store, outbox: Outbox) -> "StoreKeeper":
    from sidetask.tasks.durable.keeper import StoreKeeper  # noqa: PLC0415 - as above

    return StoreKeeper(store, outbox.now)


def _journal_steps(store: Store, outbox: Outbox) -> Engine:
    from sidetask.engines.stored import StoredEngine  # noqa: PLC0415 - as above
    from sidetask.tasks.durable.steps import StoredSteps  # noqa: PLC0415

    return StoredEngine(StoredSteps(store, outbox.now))


def _take_up(
    parts: Parts, keeper: "StoreKeeper", store: Store, placement: Placement
) -> "KeptTasks":
    from sidetask.tasks.durable.kept import KeptTasks  # noqa: PLC0415 - as above

    return KeptTasks(parts, keeper, store, open_elsewhere(parts, keeper, store, placement))
