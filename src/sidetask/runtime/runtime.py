"""The one place that wires models, tools, tasks, state and store together."""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from os import environ
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from sidetask.agents.agent import AgentConfig, ToolLike, as_tool
from sidetask.agents.policies.hooks import Hooks
from sidetask.agents.policies.rules import Policy
from sidetask.agents.quota import Quota, process_quota
from sidetask.agents.tools.kept import KeptOutputs
from sidetask.agents.tools.source import ToolSource
from sidetask.agents.tools.task_tools import task_tools
from sidetask.agents.tools.tool import AnyTool
from sidetask.agents.tools.toolset import Toolsets
from sidetask.agents.turn.log import Surroundings
from sidetask.core.errors import (
    AgentNotStartedError,
    ConfigurationError,
    ConversationNotFoundError,
    UnknownAgentError,
)
from sidetask.core.errors.checks import (
    check_callable,
    check_count,
    check_kind,
    check_like,
    check_list,
)
from sidetask.core.ids import ConversationId
from sidetask.core.routing import OnDuplicateLike
from sidetask.engines.base import Engine
from sidetask.engines.opening import given_engine
from sidetask.models.base import Model
from sidetask.observe.base import Observing
from sidetask.observe.opening import open_observer
from sidetask.orchestration.dispatcher import MAX_QUEUE, BackgroundAgentDispatcher, OnFull
from sidetask.orchestration.invoker import Invoker
from sidetask.runtime.foreign import ForeignAgent, start_foreign
from sidetask.runtime.handle import AgentHandle
from sidetask.runtime.house.approving import OnApproval
from sidetask.runtime.house.rules import House
from sidetask.runtime.house.sources import Sources
from sidetask.runtime.invocation.emitting import Host
from sidetask.runtime.invocation.face import Invoking
from sidetask.runtime.invocation.states import StateTeller
from sidetask.runtime.keeping.retention import RETENTION, Retention
from sidetask.runtime.live.family import MAX_DEPTH, Families
from sidetask.runtime.models import Models
from sidetask.runtime.opening import Opening
from sidetask.runtime.residents.asking import Asked
from sidetask.runtime.residents.grounds import Grounds
from sidetask.runtime.residents.residents import Residents, made
from sidetask.runtime.triggers.base import TriggerLike, as_triggers
from sidetask.state.spaces import SharedSpaces
from sidetask.state.state import State
from sidetask.stores.base import Store
from sidetask.stores.opening import given_store
from sidetask.tasks.aio.clock import Clock, SystemClock
from sidetask.tasks.aio.outbox import Outbox
from sidetask.tasks.aio.spawn import wait_done
from sidetask.tasks.elsewhere import Placement
from sidetask.tasks.handle import ManagerHandle
from sidetask.tasks.manager import AsyncTaskManager, RoutingPolicy
from sidetask.tasks.parts.permits import Limits

if TYPE_CHECKING:  # for who keeps contents to itself: every program has this module
    from sidetask.tasks.durable.cleaning import Redact

STORE = "SIDETASK_STORE"
"""The environment variable that says where conversations are kept, if the program does not."""
MAX_AUTO_TURNS = 8
"""Turns in a row that nobody asked for."""


class Runtime(Invoking):
    """Runs agents. Agents, tools and models that are registered here are found by name.

    `deps` is what every tool finds in `ctx.deps`: a value, or a function that makes one for
    each conversation (it may be async). `tools` are given to every agent besides its own.
    `store` says where conversations are kept: `"sqlite:///file.db"`; not said, in memory, or where
    the environment variable `SIDETASK_STORE` says. `engine="dbos"` makes background tasks workflows
    of DBOS in that database. Sub-agents may be nested `max_depth` deep. `background` says where
    background calls run when `sidetask worker`s share the store: `"auto"`, on a worker if one lives
    that has the tool, and else here; `"here"`; `"workers"`, which wait until there is one.
    `tracing=True` makes spans and metrics for OpenTelemetry; a `Tracing` says how.
    Events and closed records of a database are forgotten after `retention` seconds, 30 days if
    nothing is said, by a look once a day; None: never. Conversations never are.
    `store_content=False` keeps what is said and done out of a store that outlives the process, and
    `redact(value, where)` says what of it is stored: see the guide on keeping.

    Raises:
        ConfigurationError: Two agents of one name, or no such store or engine; or workers are to
            do the work, and the store has none.
        MissingExtraError: `tracing`, and OpenTelemetry is not installed; or what a store or an
            engine needs is not.
    """

    _make_manager: Callable[..., AsyncTaskManager] = AsyncTaskManager

    def __init__(  # noqa: PLR0913 - each is one choice of the host
        self,
        *,
        agents: Iterable[AgentConfig | ForeignAgent] = (),
        tools: Iterable[ToolLike] = (),
        models: Mapping[str, Model] | None = None,
        deps: object = None,
        store: str | Store | None = None,
        engine: Literal["dbos"] | Engine | None = None,
        limits: Limits | None = None,
        routing: RoutingPolicy | None = None,
        clock: Clock | None = None,
        quota: Quota | None = None,
        policy: Policy | None = None,
        hooks: Sequence[Hooks] = (),
        on_approval: OnApproval | None = None,
        max_auto_turns: int = MAX_AUTO_TURNS,
        max_depth: int = MAX_DEPTH,
        background: Placement = "auto",
        tracing: bool | Observing = False,
        retention: float | None = RETENTION,
        store_content: bool = True,
        redact: "Redact | None" = None,
    ) -> None:
        self._agents = _by_name(agents)
        self._tools = _as_tools(tools)
        self._models = Models(models)
        self._deps = deps
        self.place, self._store = _opened(store)
        """The URL of its store; None: the program has opened the store itself."""
        self._owns_store = self.place is not None
        self._forgets = self._owns_store and not self._store.durable
        self._redacted = _redacting(store_content, redact, engine)
        self._store = self._redacted(self._store)
        self._outbox = Outbox(self._store, _timed(clock))
        self._observer = open_observer(tracing, self._outbox.everything)
        self.quota = _paced(quota, clock, limits)
        """The gates of the API keys: shared by all runtimes of the process, unless given."""
        self._engine = given_engine(engine, self.place)
        self._retention = Retention(self._store, self._engine, retention, self._outbox.now)
        self._routing = routing
        self._manager = tasks = self._manage(limits, background)
        self._around = Surroundings(tasks, self._store, self._outbox, self.quota, tasks.kept)
        built_in, outputs = task_tools(self._manager), KeptOutputs(self._store, self._outbox.now)
        self._sources = Sources(self._tools, built_in=(*built_in, outputs.tool))
        self._toolsets = Toolsets(built_in, routed=routing is not None, outputs=outputs)
        spaces = SharedSpaces()
        self.invoker = Invoker(
            self._manager,
            agents=self._agents,
            house=self,
            make_state=partial(State, spaces, now=self._outbox.now),
            forget=self._forget,
        )
        """How agents are invoked with this runtime's tasks: `call(..., tasks=runtime)`."""
        self._house = _housed(policy, hooks, on_approval)
        self._residents = Residents(
            self._grounds(spaces, max_auto_turns=max_auto_turns, max_depth=max_depth)
        )
        super().__init__(self._host(), self._store)

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
        asked: Asked = {
            "user": user,
            "deps": deps,
            "conversation_id": conversation_id,
            "triggers": as_triggers(triggers),
        }
        return Opening(partial(self._start, agent, asked))

    def resume(
        self,
        conversation_id: str,
        *,
        agent: AgentConfig | ForeignAgent | str | None = None,
        deps: object = None,
        triggers: Sequence[TriggerLike] = (),
    ) -> Opening:
        """Take a conversation up again where it was let go of, or where its process was killed:
        `chat = await runtime.resume(id)`, or `async with`, or `with`.

        History, usage, state and results that nobody has taken are what they were; the model is
        told of what was cut off. The agent is found by its name, among those of the runtime,
        unless it is given.

        Raises (when awaited or entered):
            ConversationNotFoundError: The store has none with this id.
            UnknownAgentError: Its agent is not registered here: give it.
            InvalidInputError: It is open, or is a conversation with another agent.
            StoreError: The store cannot be read.
        """
        asked = Asked(
            conversation_id=conversation_id,
            deps=deps,
            triggers=as_triggers(triggers),
            resumed=True,
        )
        return Opening(partial(self._resume, ConversationId(conversation_id), agent, asked))

    async def _resume(
        self,
        key: ConversationId,
        agent: AgentConfig | ForeignAgent | str | None,
        asked: Asked,
    ) -> AgentHandle:
        self._residents.new_id(key)  # refused, if it is open
        await self._store.start()
        if agent is None:
            record = await self._store.conversation(key)
            if record is None:
                raise ConversationNotFoundError(key)
            agent = record.agent
        return await self._start(agent, asked)

    async def start_agent(
        self, agent: AgentConfig | ForeignAgent | str, **asked: "Unpack[Asked]"
    ) -> AgentHandle:
        """What awaiting `open` does. A start that fails or is cancelled leaves nothing behind."""
        return await self._start(agent, asked)

    def _start(
        self, agent: AgentConfig | ForeignAgent | str, asked: Asked
    ) -> Coroutine[Any, Any, AgentHandle]:
        self._retention.begin()
        config = self._find_agent(agent)
        if not isinstance(config, AgentConfig):
            return self._start_foreign(config, asked)
        whole = config.with_tools(*self._tools) if self._tools else config
        if whole.sources:
            return self._sources.start(whole, partial(self._residents.start, config, asked))
        return self._residents.start(config, asked, toolbox=whole.toolbox)

    async def _start_foreign(self, agent: ForeignAgent, asked: Asked) -> AgentHandle:
        own = asked.get("deps")
        deps = await made(self._deps if own is None else own)
        return await start_foreign(agent, deps, partial(self.start_agent, **asked))

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
        return self._residents.handles

    async def close(self) -> None:
        """Shut every live agent down, and then the tasks. Twice is fine."""
        self._residents.close()
        await self._retention.close()
        closings = [handle.begin_shutdown() for handle in self.live_agents]
        for closing in closings:
            await wait_done(closing)
        await self._end_runs()
        await self.tasks.close()
        await self._residents.part()
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

    def _manage(self, limits: Limits | None, background: Placement) -> AsyncTaskManager:
        if self._routing is not None:
            check_callable("routing", self._routing)
        return self._make_manager(
            limits=limits,
            routing=self._routing,
            outbox=self._outbox,
            engine=self._engine,
            store=self._store,
            placement=background,
        )

    def _host(self) -> Host:
        return Host(
            outbox=self._outbox,
            find_driver=self._residents.find_driver,
            new_id=self._residents.new_id,
            start=self._start_for,
            forget=self._forget,
        )

    def _grounds(self, spaces: SharedSpaces, *, max_auto_turns: int, max_depth: int) -> Grounds:
        check_count("max_auto_turns", max_auto_turns, least=0)
        check_count("max_depth", max_depth, least=0)
        return Grounds(
            manager=self._manager,
            around=self._around,
            store=self._store,
            outbox=self._outbox,
            models=self._models,
            house=self._house,
            families=Families(self._manager.handle, max_depth=max_depth),
            toolsets=self._toolsets,
            invoker=self.invoker,
            states=StateTeller(self._outbox),
            spaces=spaces,
            observer=self._observer,
            deps=self._deps,
            max_auto_turns=max_auto_turns,
            forgets=self._forgets,
            make_dispatcher=self._dispatcher_of,
            start=self.start_agent,
        )

    def _find_agent(self, agent: AgentConfig | ForeignAgent | str) -> AgentConfig | ForeignAgent:
        if not isinstance(agent, str):
            return agent
        found = self._agents.get(agent)
        if found is None:
            raise UnknownAgentError(agent, self._agents)
        return found

    async def _start_for(
        self, agent: AgentConfig | ForeignAgent | str, user: str | None, key: ConversationId
    ) -> AgentHandle:
        return await self.start_agent(agent, user=user, conversation_id=key)

    async def _forget(self, key: ConversationId) -> None:
        if not self._residents.is_taken(key) and not self._outbox.is_heard(key):
            self._outbox.forget(key)
            if self._forgets:
                await self._store.delete(key)

    def _dispatcher_of(self, key: ConversationId) -> BackgroundAgentDispatcher:
        handle = self._residents.find(key)
        if handle is None:
            raise AgentNotStartedError
        return self.dispatcher(1, conversation=handle)


def open(
    agent: AgentConfig | ForeignAgent,
    *,
    deps: object = None,
    user: str | None = None,
    conversation_id: str | None = None,
    triggers: Sequence[TriggerLike] = (),
    **settings: Any,
) -> Opening:
    """Open a live agent in a runtime of its own, which is closed with it.

    `settings` are those of `Runtime`: `limits=`, `store=`, `tools=`, ... If its store has a
    conversation of this id, it is taken up again.
    """
    runtime = Runtime(**settings)
    started = as_triggers(triggers)
    start = partial(
        runtime.start_agent,
        agent,
        user=user,
        deps=deps,
        conversation_id=conversation_id,
        triggers=started,
    )
    return Opening(start, also_close=runtime.close)


def _by_name(
    agents: Iterable[AgentConfig | ForeignAgent],
) -> Mapping[str, AgentConfig | ForeignAgent]:
    named: dict[str, AgentConfig | ForeignAgent] = {}
    check_list("agents", agents)
    for agent in agents:
        if isinstance(agent, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may not be typed
            raise ConfigurationError(f"an agent is registered itself, not by name: {agent!r:.80}")
        check_like("an agent", agent, "Agent", has="name")
        if agent.name is None:
            raise ConfigurationError("an agent without a name cannot be registered: give it name=")
        if named.setdefault(agent.name, agent) is not agent:
            raise ConfigurationError(f"two agents are named {agent.name!r}: give one name=")
    return named


def _redacting(
    store_content: bool, redact: "Redact | None", engine: object
) -> Callable[[Store], Store]:
    """What gives a store as much of the contents as the host wants."""
    check_kind("store_content", store_content, bool)
    if redact is not None:
        check_callable("redact", redact)
    elif store_content:
        return lambda store: store
    from sidetask.tasks.durable.redacted import redacted  # noqa: PLC0415 - as above

    return partial(redacted, store_content=store_content, redact=redact, engine=engine)


def _opened(store: str | Store | None) -> tuple[str | None, Store]:
    """The store that was given, or that the environment names, and its URL."""
    if store is None:
        store = environ.get(STORE) or "memory:"
    return store if isinstance(store, str) else None, given_store(store)


def _as_tools(tools: Iterable[ToolLike]) -> tuple[AnyTool | ToolSource, ...]:
    check_list("tools", tools)
    return tuple([as_tool(each) for each in tools])


def _housed(policy: Policy | None, hooks: Sequence[Hooks], on_approval: OnApproval | None) -> House:
    check_list("hooks", hooks)
    return House(() if policy is None else (policy,), tuple(hooks), on_approval)


def _timed(clock: Clock | None) -> Clock:
    if clock is not None:
        check_like("clock", clock, "Clock", has="now")
    return SystemClock() if clock is None else clock


def _paced(quota: Quota | None, clock: Clock | None, limits: Limits | None) -> Quota:
    if quota is None:
        quota = process_quota() if clock is None else Quota()
    check_kind("quota", quota, Quota)
    if limits is not None:
        check_kind("limits", limits, Limits)
        if limits.rpm is not None or limits.tpm is not None:
            quota.pace(rpm=limits.rpm, tpm=limits.tpm)
    return quota
