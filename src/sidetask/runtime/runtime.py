"""The one place that wires models, tools, tasks, state and store together."""

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from os import urandom
from typing import Any, Self, TypedDict, Unpack, cast
from weakref import WeakValueDictionary

from sidetask.agents.agent import AgentConfig, ToolLike
from sidetask.agents.conversation import Conversation
from sidetask.agents.governor import Seat
from sidetask.agents.policies.hooks import HookContext, Hooks
from sidetask.agents.policies.rules import Policy
from sidetask.agents.quota import Quota, process_quota
from sidetask.agents.tools.kept import KeptOutputs
from sidetask.agents.tools.task_tools import task_tools
from sidetask.agents.tools.tool import AnyTool
from sidetask.agents.tools.toolset import Toolset
from sidetask.agents.turn_log import Surroundings
from sidetask.core.errors import (
    AgentNotStartedError,
    ConfigurationError,
    InvalidInputError,
    UnknownAgentError,
)
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.routing import OnDuplicateLike
from sidetask.models.base import Model
from sidetask.observe.base import Observing
from sidetask.observe.opening import open_observer
from sidetask.orchestration.dispatcher import MAX_QUEUE, BackgroundAgentDispatcher, OnFull
from sidetask.orchestration.invoker import Invoker
from sidetask.runtime.driver import Driver
from sidetask.runtime.foreign import ForeignAgent, start_foreign
from sidetask.runtime.handle import AgentHandle, Wiring
from sidetask.runtime.house.approving import OnApproval
from sidetask.runtime.house.rules import Closing, House
from sidetask.runtime.house.sources import Sources
from sidetask.runtime.invocation.emitting import Host
from sidetask.runtime.invocation.face import Invoking
from sidetask.runtime.invocation.states import StateTeller
from sidetask.runtime.models import Models
from sidetask.runtime.opening import Opening
from sidetask.runtime.triggers.base import Trigger, TriggerContext, TriggerLike, as_trigger
from sidetask.runtime.triggers.running import Triggers
from sidetask.runtime.views import ConversationApprovals
from sidetask.state.spaces import SharedSpaces
from sidetask.state.state import BorrowedState, State, StateView
from sidetask.stores.base import Store
from sidetask.stores.opening import open_store
from sidetask.tasks.aio.clock import Clock, SystemClock
from sidetask.tasks.aio.outbox import Outbox
from sidetask.tasks.aio.spawn import run_to_end, wait_done
from sidetask.tasks.handle import ManagerHandle
from sidetask.tasks.manager import AsyncTaskManager, RoutingPolicy
from sidetask.tasks.parts.permits import Limits
from sidetask.tasks.parts.runner import Scope

CLEANUP = 5.0
"""Seconds that letting go of an agent may take whose opening was cancelled."""
MAX_AUTO_TURNS = 8
"""Turns in a row that nobody asked for."""


class Runtime(Invoking):
    """Runs agents. Agents, tools and models that are registered here are found by name.

    `deps` is what every tool finds in `ctx.deps`: a value, or a function that makes one for
    each conversation (it may be async). `tools` are given to every agent besides its own.
    `tracing=True` makes spans and metrics for OpenTelemetry; a `Tracing` says how.

    Raises:
        ConfigurationError: Two agents of one name, or no such store.
        MissingExtraError: `tracing`, and OpenTelemetry is not installed.
    """

    def __init__(  # noqa: PLR0913 - each is one choice of the host
        self,
        *,
        agents: Iterable[AgentConfig | ForeignAgent] = (),
        tools: Iterable[ToolLike] = (),
        models: Mapping[str, Model] | None = None,
        deps: object = None,
        store: str | Store = "memory:",
        limits: Limits | None = None,
        routing: RoutingPolicy | None = None,
        clock: Clock | None = None,
        quota: Quota | None = None,
        policy: Policy | None = None,
        hooks: Sequence[Hooks] = (),
        on_approval: OnApproval | None = None,
        max_auto_turns: int = MAX_AUTO_TURNS,
        tracing: bool | Observing = False,
    ) -> None:
        self._agents = _by_name(agents)
        self._tools = tuple(tools)
        self._models = Models(models)
        self._deps = deps
        self._store = open_store(store) if isinstance(store, str) else store
        self._owns_store = isinstance(store, str)
        self._forgets = self._owns_store and not self._store.durable
        self._outbox = Outbox(self._store, clock or SystemClock())
        self._observer = open_observer(tracing, self._outbox.everything)
        self.quota = _paced(quota or (process_quota() if clock is None else Quota()), limits)
        """The gates of the API keys: shared by all runtimes of the process, unless given."""
        self._manager = AsyncTaskManager(limits=limits, routing=routing, outbox=self._outbox)
        self._around = Surroundings(self._manager, self._store, self._outbox, self.quota)
        self._task_tools = task_tools(self._manager)
        self._outputs = KeptOutputs(self._store, self._outbox.now)
        self._sources = Sources(self._tools, built_in=(*self._task_tools, self._outputs.tool))
        self._spaces = SharedSpaces()
        self._routed = routing is not None
        self._max_auto_turns = max_auto_turns
        self._house = House(() if policy is None else (policy,), tuple(hooks), on_approval)
        # A handle that its owner drops shall be dropped: its conversation ends then, too.
        self._live: WeakValueDictionary[ConversationId, AgentHandle] = WeakValueDictionary()
        self._open: dict[ConversationId, Driver] = {}
        self._ids = count(1)
        self._closed = False
        host = Host(
            outbox=self._outbox,
            find_driver=self._find_driver,
            new_id=partial(self._new_id, None),
            start=self._start_for,
            forget=self._forget,
        )
        super().__init__(host, self._store)
        self._states = StateTeller(self._outbox)
        self.invoker = Invoker(
            self._manager,
            agents=self._agents,
            house=self,
            make_state=partial(State, self._spaces, now=self._outbox.now),
            forget=self._forget,
        )
        """How agents are invoked with this runtime's tasks: `call(..., tasks=runtime)`."""

    # -- opening -----------------------------------------------------------------------------

    def open(
        self,
        agent: AgentConfig | ForeignAgent | str,
        *,
        user: str | None = None,
        deps: object = None,
        conversation_id: str | None = None,
        triggers: Sequence[TriggerLike] = (),
    ) -> Opening:
        """Open a live agent: `chat = await runtime.open(agent)`, or `async with`, or `with`.
        Its `triggers` start turns that nobody asks for, until it is shut down.

        Raises (when awaited or entered):
            UnknownAgentError, UnknownModelError: Nothing is registered under the name.
            ConfigurationError: The agent's tools contradict each other.
            InvalidInputError: The conversation is open already.
            AgentNotStartedError: The runtime is closed.
        """
        start = partial(
            self.start_agent,
            agent,
            user=user,
            deps=deps,
            conversation_id=conversation_id,
            triggers=[as_trigger(each) for each in triggers],
        )
        return Opening(start)

    async def start_agent(
        self, agent: AgentConfig | ForeignAgent | str, **asked: "Unpack[Asked]"
    ) -> AgentHandle:
        """What awaiting `open` does. A start that fails or is cancelled leaves nothing behind."""
        config = self._find_agent(agent)
        if not isinstance(config, AgentConfig):
            own = asked.pop("deps", None)
            deps = await _made(self._deps if own is None else own)
            return await start_foreign(config, deps, partial(self.start_agent, **asked))
        whole = config.with_tools(*self._tools)
        start = partial(self._start, config, **asked)
        if whole.sources:
            return await self._sources.start(whole, start)
        return await start(toolbox=whole.toolbox)

    async def _start(  # noqa: PLR0913 - what was asked for, all of it
        self,
        config: AgentConfig,
        *,
        toolbox: Sequence[AnyTool],
        user: str | None = None,
        deps: object = None,
        conversation_id: str | None = None,
        triggers: Sequence[Trigger] = (),
        within: "Within | None" = None,
    ) -> AgentHandle:
        """Open an agent whose tools are all there."""
        model, writer = self._models.open_for(config)
        toolset = Toolset(
            toolbox,
            output_type=config.output_type,
            task_tools=self._task_tools,
            routed=self._routed,
            outputs=self._outputs,
        )
        if config.flow is not None:
            config.flow.compile(toolset.tools)
        house = self._house.of(config)
        house.check(kept=self._store.durable)
        own_deps = await _made(self._deps if deps is None else deps)
        await self._store.start()
        if self._closed:
            raise AgentNotStartedError
        key = self._new_id(conversation_id)
        state = self._state_for(key, user, within)
        ctx = HookContext(conversation_id=key, agent=config.name, user=user, state=state)
        executors = house.gated(toolset.executors, ctx)
        self._manager.open_conversation(key, Scope(executors, own_deps, state))
        conversation = Conversation(key, config, model, toolset, state, summary_model=writer)
        house.settle(conversation, ctx)
        if config.flow is not None:
            conversation.govern(config.flow.govern(self._seat(conversation)))
        conversation.parent_id = None if within is None else within.parent_id
        driver = self._drive(conversation)
        wiring = Wiring(conversation, driver, self.tasks, self._around, state, user, self.invoker)
        closings = [
            house.desk(ConversationApprovals(self.tasks, key), self._outbox.journal(key).listen)
        ]
        release = partial(self._release, driver, conversation, closings)
        self._live[key] = handle = AgentHandle(wiring, release)
        await _welcome(handle, conversation)
        if triggers:
            closings.append(self._start_triggers(triggers, driver, conversation).close)
        return handle

    # -- agents beside the conversation --------------------------------------------------------

    def dispatcher(
        self,
        max_concurrent: int,
        *,
        conversation: AgentHandle | None = None,
        max_queue: int = MAX_QUEUE,
        on_full: OnFull = "reject",
        on_duplicate: OnDuplicateLike = "replace",
    ) -> BackgroundAgentDispatcher:
        """Run agents beside everything else, `max_concurrent` at once, as tasks of this runtime.

        A run that gets the state of a live agent is listed with that agent's tasks and ends with
        it. Those that get none have that of `conversation`, or else one of the dispatcher's own.
        See `BackgroundAgentDispatcher`.

        Raises:
            ConfigurationError: No permits, or more than the `limits` let run in a conversation.
        """
        return BackgroundAgentDispatcher(
            max_concurrent,
            max_queue=max_queue,
            on_full=on_full,
            on_duplicate=on_duplicate,
            tasks=self,
            conversation=conversation,
        )

    @property
    def tasks(self) -> ManagerHandle:
        """The tasks of all conversations."""
        return self._manager.handle()

    @property
    def live_agents(self) -> tuple[AgentHandle, ...]:
        """The agents that are open."""
        return tuple(self._live.values())

    async def close(self) -> None:
        """Shut every live agent down, and then the tasks. Twice is fine."""
        self._closed = True
        closings = [handle.begin_shutdown() for handle in self.live_agents]
        for closing in closings:
            await wait_done(closing)
        await self._end_runs()
        await self.tasks.close()
        if self._observer is not None:
            self._observer.close()
        await self._end_listeners()
        await self._sources.close()
        await self._models.aclose()
        if self._owns_store:
            await self._store.close()
        for closing in closings:
            closing.result()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # -- steps -------------------------------------------------------------------------------

    def _drive(self, conversation: Conversation) -> Driver:
        """From now on it is open."""
        driver = Driver(
            conversation,
            self._manager,
            self._around,
            max_auto_turns=self._max_auto_turns,
            observer=self._observer,
        )
        if self._observer is not None:
            parent_id, agent = conversation.parent_id, conversation.config.name
            self._observer.opened(conversation.id, agent, parent_id)
        self._open[conversation.id] = driver
        self._states.open(conversation.id, conversation.state)
        return driver

    def _seat(self, conversation: Conversation) -> Seat:
        return Seat(
            conversation_id=conversation.id,
            state=conversation.state,
            is_guest=isinstance(conversation.state, BorrowedState),
            tools=conversation.toolset.tools,
            manager=self._manager,
            events=self._outbox.journal(conversation.id).listen(),
            meter=conversation.meter,
        )

    def _start_triggers(
        self, triggers: Sequence[Trigger], driver: Driver, conversation: Conversation
    ) -> Triggers:
        key = conversation.id

        def dispatcher() -> BackgroundAgentDispatcher:
            return self.dispatcher(1, conversation=self._live[key])

        def context(name: str) -> TriggerContext:
            return TriggerContext(
                name,
                driver,
                conversation.state,
                conversation_id=key,
                now=self._outbox.now,
                dispatcher=dispatcher,
            )

        return Triggers(triggers, context, self._outbox.journal(key))

    async def _release(
        self, driver: Driver, conversation: Conversation, closings: Sequence[Closing]
    ) -> None:
        key = conversation.id
        for close in reversed(closings):
            await close()
        await driver.close()
        if conversation.governor is not None:
            await conversation.governor.close()
        tasks = [self.tasks.task(task.id) for task in self.tasks.list_running(key)]
        for task in tasks:
            task.cancel("the agent was shut down")
        for task in tasks:
            await task.wait()
        if conversation.hooks is not None:
            await conversation.hooks.ended()
        if self._observer is not None:
            self._observer.closed(key)
        self._states.close(key)
        conversation.state.close()
        if self.invoker.homes.get(conversation.state.home) == key:
            del self.invoker.homes[conversation.state.home]
        self._manager.forget(key)
        if self._forgets:
            await self._store.delete(key)
        self._open.pop(key, None)
        self._live.pop(key, None)

    def _state_for(
        self, key: ConversationId, user: str | None, within: "Within | None"
    ) -> State | BorrowedState:
        if within is not None:
            return BorrowedState(within.state)
        state = State(self._spaces, user=user, now=self._outbox.now)
        self.invoker.homes[state.home] = key
        return state

    def _find_agent(self, agent: AgentConfig | ForeignAgent | str) -> AgentConfig | ForeignAgent:
        if not isinstance(agent, str):
            return agent
        found = self._agents.get(agent)
        if found is None:
            raise UnknownAgentError(agent, self._agents)
        return found

    def _find_driver(self, conversation_id: ConversationId) -> Driver | None:
        driver = self._open.get(conversation_id)
        return None if driver is None or driver.closed else driver

    async def _start_for(
        self, agent: AgentConfig | ForeignAgent | str, user: str | None, key: ConversationId
    ) -> AgentHandle:
        return await self.start_agent(agent, user=user, conversation_id=key)

    async def _forget(self, key: ConversationId) -> None:
        if key not in self._open and not self._outbox.is_heard(key):
            self._outbox.forget(key)
            if self._forgets:
                await self._store.delete(key)

    def _new_id(self, wanted: str | None) -> ConversationId:
        if wanted is not None:
            if not wanted or ConversationId(wanted) in self._open:
                raise InvalidInputError(f"conversation {wanted!r} is open already, or has no name")
            return ConversationId(wanted)
        if self._store.durable:  # others' conversations are in it too
            return ConversationId(f"conversation-{urandom(16).hex()}")
        while (made := ConversationId(f"conversation-{next(self._ids)}")) in self._open:
            continue
        return made


@dataclass(frozen=True, slots=True)
class Within:
    """What an agent is opened in that somebody else waits for."""

    state: StateView
    parent_id: TaskId | None
    """The task that waits."""


class Asked(TypedDict, total=False):
    """How an agent is to be opened, besides what it is."""

    user: str | None
    deps: object
    conversation_id: str | None
    triggers: Sequence[Trigger]
    within: Within | None


def open(
    agent: AgentConfig | ForeignAgent,
    *,
    deps: object = None,
    user: str | None = None,
    triggers: Sequence[TriggerLike] = (),
    **settings: Any,
) -> Opening:
    """Open a live agent in a runtime of its own, which is closed with it.

    `settings` are those of `Runtime`: `limits=`, `store=`, `tools=`, ...
    """
    runtime = Runtime(**settings)
    started = [as_trigger(each) for each in triggers]
    start = partial(runtime.start_agent, agent, user=user, deps=deps, triggers=started)
    return Opening(start, also_close=runtime.close)


def _by_name(
    agents: Iterable[AgentConfig | ForeignAgent],
) -> Mapping[str, AgentConfig | ForeignAgent]:
    named: dict[str, AgentConfig | ForeignAgent] = {}
    for agent in agents:
        if agent.name is None:
            raise ConfigurationError("an agent without a name cannot be registered: give it name=")
        if named.setdefault(agent.name, agent) is not agent:
            raise ConfigurationError(f"two agents are named {agent.name!r}: give one name=")
    return named


def _paced(quota: Quota, limits: Limits | None) -> Quota:
    if limits is not None and (limits.rpm is not None or limits.tpm is not None):
        quota.pace(rpm=limits.rpm, tpm=limits.tpm)
    return quota


async def _welcome(handle: AgentHandle, conversation: Conversation) -> None:
    if conversation.hooks is None:
        return
    try:
        await conversation.hooks.started()
    except asyncio.CancelledError:  # noted, and nothing of the agent is left behind
        await run_to_end(handle.shutdown(), within=CLEANUP)
        raise


async def _made(deps: object) -> object:
    """The dependencies: as they are, or made by a function for this conversation."""
    if not (inspect.isroutine(deps) or isinstance(deps, partial)):
        return deps
    made = cast("Callable[[], object]", deps)()
    return await made if inspect.isawaitable(made) else made
