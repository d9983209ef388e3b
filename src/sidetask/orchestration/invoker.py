"""Runs of agents as tasks: one task manager's way to invoke them.

An invocation is a task like any other: a registered name (`invoke_agent`, or that of a dispatcher)
with JSON arguments, which name the agent and hold the input. What is no JSON, the agent object and
the state, is found by the task's id while the process lives; where there is no such id, by the
agent's registered name and the conversation's state.

The order of an end: the run's keys in the state settle, then the result can be taken, then the
event goes out, all in one tick. A run that ignores its cancellation writes nothing: its view of
the state is fenced by (task, attempt), its keys by their generation.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from itertools import count
from typing import Any, Protocol, TypeAlias

from sidetask.agents.quota.rank import aside
from sidetask.agents.tools.outputs import cut
from sidetask.core.budget import Meter, ambient_meter
from sidetask.core.errors import (
    ConfigurationError,
    InvalidInputError,
    SidetaskError,
    UnknownAgentError,
)
from sidetask.core.ids import CallId, ConversationId, RunId, TaskId, value
from sidetask.core.jsons import Json, canonical
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.messages import ToolCall
from sidetask.core.routing import DEFAULT_POLICY, Route, TaskPolicy, foreground
from sidetask.orchestration.base import Invocable, Sourced
from sidetask.state.provenance import Origin
from sidetask.state.results import NamedRun, check_name, start_result, text_of
from sidetask.state.state import State, StateView
from sidetask.state.values import freeze
from sidetask.tasks.context import RunContext
from sidetask.tasks.handle import TaskHandle
from sidetask.tasks.manager import AsyncTaskManager
from sidetask.tasks.parts.body import TaskBody, current_body
from sidetask.tasks.values import (
    Completed,
    Errored,
    Resolution,
    TaskLaunch,
    ToolOutcome,
)

EXECUTOR = "invoke_agent"
"""The registered name of what carries out every invocation."""
HOME = ConversationId("agents")
"""Where runs are listed whose state is of no conversation."""

_SHORT = 2_000
"""Characters that no limit of a model's text can be reached with."""
_run_ids = count(1)  # of the process: runs with managers of their own may share a state
_log = logging.getLogger(__name__)


class Run:
    """One invocation, and the observer of its task: what is no JSON of it, what became of it.

    Raises:
        InvalidInputError: The name cannot be a run's, the agent or the state is none, or the
            input no JSON.
        TaskFencedError, StateClosedError: The state may not be written any more.
    """

    __slots__ = (
        "agent",
        "arguments",
        "digest",
        "error",
        "handle",
        "invoker",
        "keep_stale",
        "meter",
        "name",
        "named",
        "on_end",
        "resolution",
        "run_id",
        "state",
        "task_id",
    )

    def __init__(
        self,
        name: str,
        agent: Invocable,
        state: StateView,
        *,
        input: Json = None,
        keep_stale: bool = False,
        meter: Meter | None = None,
    ) -> None:
        self.name = check_name(name)
        self.agent = agent
        try:
            kind, _ = canonical(agent.name), agent.invoke
        except (AttributeError, TypeError):
            hint = "as_agent(fn) makes one of a function"
            raise InvalidInputError(f"{agent!r} is no agent: {hint}") from None
        try:
            text = canonical(input)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInputError(f"the input of {name!r} is not JSON: {error}") from None
        self.arguments = f'{{"agent":{kind},"input":{text}}}'
        self.digest = sha256(text.encode(errors="surrogatepass")).hexdigest()
        if not isinstance(state, StateView):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may not be typed
            raise InvalidInputError(f"{state!r:.80} is no state; an input is given as input=…")
        state.check()  # whoever may write no more may start nothing
        self.state = state
        self.keep_stale = keep_stale
        self.meter = meter
        """Where it spends; None: where whoever started it does."""
        self.on_end: Callable[[Run], object] | None = None
        self.named: NamedRun | None = None
        self.error: Exception | None = None
        """What the agent raised."""
        self.resolution: Resolution | None = None
        """How it ended; None: it is alive."""

    def begin(self, invoker: "Invoker", run_id: RunId) -> None:
        """It is about to become a task."""
        self.invoker = invoker
        self.run_id = run_id

    def entered(self, task_id: TaskId) -> None:
        self.task_id = task_id
        self.handle: TaskHandle = self.invoker.manager.handle().task(task_id)
        self.invoker.runs[task_id] = self
        origin = Origin(
            source=self.agent.source if isinstance(self.agent, Sourced) else "agent",
            resolver=self.name,
            run_id=self.run_id,
            task_id=task_id,
            attempt=1,
            input_digest=self.digest,
        )
        # The run may outlive whoever started it, on whose view of the state it stands.
        self.state = self.state.as_writer(origin, outlives=True)
        self.named = start_result(
            self.state, self.name, status=TaskStatus.QUEUED, keep_stale=self.keep_stale
        )
        if self.resolution is not None:  # an action that heard of this write has stopped it
            self._settle(self.named, self.resolution)

    async def carry_out(self, input: Json, body: TaskBody) -> ToolOutcome:
        """Invoke the agent; what it raises is the end of the task."""
        assert self.named is not None
        self.named.mark(TaskStatus.RUNNING)
        if self.meter is not None:
            ambient_meter.set(self.meter)
        if body.record.launch.executor != EXECUTOR or not body.record.foreground:
            aside.set(True)  # whoever calls it waits for it; nobody waits for what is dispatched
        state = self.state.as_writer(self.state.origin, body.check)
        try:
            output = await self.agent.invoke(input, state)
            result = freeze(self.name, output, state.limit)
        except Exception as error:  # noqa: BLE001 - the one boundary: an agent's fault is its end
            self.error = error
            return Errored(f"{type(error).__name__}: {_told(error)}", type(error).__name__)
        return Completed(result, _read(result))

    def ended(self, resolution: Resolution) -> None:
        self.resolution = resolution
        self.invoker.runs.pop(self.task_id, None)
        try:
            if self.named is not None:
                self._settle(self.named, resolution)
        except SidetaskError as gone:
            _log.warning("%s of %s is not in the state: %s", self.task_id, self.name, gone)
        finally:
            if self.on_end is not None:
                self.on_end(self)

    def _settle(self, named: NamedRun, resolution: Resolution) -> None:
        status = resolution.status
        if status is TaskStatus.FAILED and self.error is not None:
            kind, details = type(self.error).__name__, _details(self.error)
            named.settle(status, error=_told(self.error), error_type=kind, details=details)
        else:
            error = "" if status is TaskStatus.SUCCEEDED else cut(resolution.content)
            kind = resolution.error_type
            named.settle(status, value=resolution.value, error=error, error_type=kind)


@value
class Launching:
    """How a run becomes a task."""

    route: Route = foreground()
    policy: TaskPolicy = DEFAULT_POLICY
    executor: str = EXECUTOR
    conversation_id: ConversationId | None = None
    """None: the one whose state it gets, else `HOME`."""
    parent: TaskBody | None = None
    """The attempt that waits for it."""


_CALLED = Launching()


class Invoker:
    """Starts runs of agents as tasks of one manager, and carries them out.

    `agents` are found by name; `house` is what an `Agent` of ours is at home in, None: nothing.
    """

    def __init__(
        self,
        manager: AsyncTaskManager,
        *,
        agents: Mapping[str, object] | None = None,
        house: object = None,
        make_state: Callable[[], State] = State,
        forget: Callable[[ConversationId], Awaitable[None]] | None = None,
    ) -> None:
        self.manager = manager
        self.house = house
        self.make_state = make_state
        """For who has none to share."""
        self.runs: dict[TaskId, Run] = {}
        """Those that are alive."""
        self.homes: dict[object, ConversationId] = {}
        """The conversation of each state (`StateView.home`)."""
        self._forget = forget
        self._agents: Mapping[str, object] = agents or {}
        self.serial = count(1)
        """For names of executors."""
        manager.executors[EXECUTOR] = self

    @staticmethod
    def of(manager: AsyncTaskManager) -> "Invoker":
        """The one of this manager."""
        found = manager.executors.get(EXECUTOR)
        return found if isinstance(found, Invoker) else Invoker(manager)

    def find(self, agent: Invocable | str) -> Invocable:
        """The agent that is meant.

        Raises:
            UnknownAgentError: None is registered under this name.
        """
        if not isinstance(agent, str):
            return agent
        found = self._agents.get(agent)
        if not isinstance(found, Invocable):
            raise UnknownAgentError(agent, self._agents)
        return found

    async def forget(self, conversation_id: ConversationId) -> None:
        """Drop what is remembered of a conversation that nobody talks in, and whose runs have
        ended."""
        self.manager.forget(conversation_id)
        if self._forget is not None:
            await self._forget(conversation_id)

    def start(self, run: Run, how: Launching = _CALLED) -> TaskHandle:
        """Make a task of a run. Raises as `TaskManager.start_task` does, and then nothing was
        changed.

        Raises:
            ConfigurationError: No event loop runs in this thread.
        """
        _check_loop()
        run_id = RunId(f"run:{run.name}:{next(_run_ids)}")
        run.begin(self, run_id)
        parent = how.parent
        conversation_id = how.conversation_id or self.homes.get(run.state.home)
        if conversation_id is None:
            conversation_id = HOME if parent is None else parent.record.launch.conversation_id
        self.manager.start_nowait(
            TaskLaunch(
                call=ToolCall(CallId(f"call:{run_id}"), run.name, run.arguments),
                conversation_id=conversation_id,
                run_id=run_id,
                route=how.route,
                policy=how.policy,
                parent_id=None if parent is None else parent.record.id,
                executor=how.executor,
            ),
            observer=run,
        )
        return run.handle

    async def __call__(self, call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        """The executor of every invocation."""
        body = current_body.get()
        assert body is not None
        run = self.runs.get(ctx.task_id)
        given = call.parsed()
        if run is None:
            agent = self.find(str(given.get("agent")))
            run = Run(call.name, agent, ctx.state, input=given.get("input"))
            run.begin(self, ctx.run_id or RunId(f"run:{ctx.task_id}"))
            run.entered(ctx.task_id)
            body.record.observer = run
        return await run.carry_out(given.get("input"), body)


class HasInvoker(Protocol):
    """A runtime, a live agent, a dispatcher, a batch."""

    @property
    def invoker(self) -> Invoker: ...


class Talk(HasInvoker, Protocol):
    """A live agent."""

    @property
    def conversation_id(self) -> ConversationId: ...
    @property
    def state(self) -> StateView: ...


Tasks: TypeAlias = HasInvoker | AsyncTaskManager | None
"""Whose tasks runs become: of whoever has them, of a manager, or None: of whatever runs the code
that asks, else of a manager of its own."""


def _check_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "runs are started in the thread of an event loop; from another one: "
            "loop.call_soon_threadsafe(dispatcher.dispatch, name, agent)"
        ) from None


def inside() -> TaskBody | None:
    """The attempt whose code asks; None: it is no task's.

    Raises:
        TaskFencedError: It was stopped, and may start nothing.
    """
    body = current_body.get()
    if body is None or body.record.body is not body:
        return None  # a task that is over may have left code behind that is nobody's now
    body.check()
    return body


def place(tasks: Tasks) -> tuple[Invoker, TaskBody | None]:
    """Where runs are started, and the attempt of the same manager that asks for them."""
    body = inside()
    owner = body.owner if body is not None else None
    match tasks:
        case None if isinstance(owner, AsyncTaskManager):
            return Invoker.of(owner), body
        case None:
            return Invoker(AsyncTaskManager()), None
        case AsyncTaskManager():
            invoker = Invoker.of(tasks)
        case _:
            invoker = tasks.invoker
    return invoker, body if invoker.manager is owner else None


def _read(result: Json) -> str:
    """What a model reads of a result."""
    text = result if isinstance(result, str) else "" if result is None else canonical(result)
    return text if len(text) < _SHORT else cut(text)


def _told(error: object) -> str:
    """The text of an error, or of what it notes, as far as it is kept."""
    return cut(text_of(error))


def _details(error: BaseException) -> Json:
    """What an error says beside its text."""
    cause = error.__cause__
    notes: list[str] = getattr(error, "__notes__", [])
    details: dict[str, Json] = {}
    if cause is not None:
        details["cause"] = f"{type(cause).__name__}: {_told(cause)}"
    if notes:
        details["notes"] = [_told(each) for each in notes]
    return details or None
