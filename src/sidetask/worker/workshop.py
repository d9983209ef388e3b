"""Where the calls of conversations are carried out that are open in other processes.

A workshop is a runtime of its own, with the agents, rules and models of the one it is made for.
What is told in it stays in memory and is forgotten; what outlives it goes to the store of the other
one: finished steps, long outputs, writes to the shared state. So a tool finds here what it would
find at home, and an agent that it invokes is bound by the rules of the agent that called the tool.
"""

# ruff: noqa: SLF001 - it is made of the other runtime's parts

from collections.abc import AsyncGenerator, Callable, Collection, Container, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import cast

from sidetask.agents.agent import AgentConfig
from sidetask.agents.policies.hooks import HookContext
from sidetask.agents.tools.kept import KeptOutputs
from sidetask.agents.tools.tool import AnyTool, KeepFor
from sidetask.core.errors import AgentNotStartedError
from sidetask.core.events import Event
from sidetask.core.ids import ConversationId, value
from sidetask.core.jsons import Json
from sidetask.engines.base import JobSpec
from sidetask.engines.stored import StoredEngine
from sidetask.runtime.driver import Driver
from sidetask.runtime.handle import AgentHandle
from sidetask.runtime.residents.grounds import Grounds
from sidetask.runtime.residents.residents import made
from sidetask.runtime.runtime import Runtime
from sidetask.state.spaces import SharedSpaces
from sidetask.stores.base import Store
from sidetask.stores.opening import open_store
from sidetask.tasks.durable.steps import StoredSteps
from sidetask.tasks.manager import AsyncTaskManager
from sidetask.tasks.owning import Owning
from sidetask.tasks.parts.records import Keeping
from sidetask.tasks.parts.runner import Scope
from sidetask.tasks.remote.values import key_of
from sidetask.worker.place import Place

EXECUTOR = "carry_out_job"
"""The registered name of what carries every job out."""
PLENTY = 1_000_000
"""Whoever claims jobs bounds them: no cap here makes one wait."""


@value
class Known:
    """A tool that can be carried out here, and the agent that has it."""

    agent: AgentConfig
    tool: AnyTool


class Workshop(Runtime):
    """Carries calls out, with the tools of the runtime that it is made for."""

    def __init__(self, of: Runtime, keeper: Keeping) -> None:
        # First, since the runtime makes its parts of them.
        self._of = of
        self.lasting: Store = of._store
        """What outlives the process. Connections of its own: the other runtime may lose a
        conversation that it has adopted, and writes nothing more of it; the jobs go on."""
        self._owns_lasting = of.place is not None and of._store.durable
        if self._owns_lasting and of.place is not None:
            self.lasting = of._redacted(open_store(of.place))
        self._places: dict[ConversationId, Place] = {}
        self._make_manager = partial(AsyncTaskManager, keeper=keeper)
        now = of._outbox.now
        limits = replace(
            of._manager.limits, conversation=PLENTY, total=None, approval_age=None
        )  # a question expires at home
        super().__init__(
            agents=of._agents.values(),
            tools=of._tools,
            deps=of._deps,
            store="memory:",
            engine=of._engine or StoredEngine(_Steps(self.lasting, now, self._places)),
            limits=limits,
            routing=of._routing,
            clock=of._outbox,
            quota=of.quota,
        )
        self.keep: KeepFor = KeptOutputs(self.lasting, now).keep
        """Keeps the outputs that are too long for a model."""
        self.known: Mapping[str, Known] = {
            key_of(agent.name, tool.name): Known(agent, tool)
            for agent in self._agents.values()
            if isinstance(agent, AgentConfig)
            for tool in agent.with_tools(*self._tools).toolbox
            if tool.portable
        }

    @property
    def manager(self) -> AsyncTaskManager:
        """Runs the calls."""
        return self._manager

    def tap(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call `listener` with whatever happens here. Returns what ends it."""
        return self._outbox.everything.tap(listener)

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._outbox.now()

    @property
    def is_shared(self) -> bool:
        """It would run on an engine that live agents of the other runtime run on."""
        return self._of._engine is not None and bool(self._of.live_agents)

    async def close(self) -> None:
        await super().close()
        if self._owns_lasting:
            await self.lasting.close()

    # -- whose conversations are adopted -------------------------------------------------------

    @property
    def owning(self) -> Owning | None:
        """Which conversations the other runtime has open. None: nobody can see that, or it has an
        engine of its own, which only one manager of tasks in a process can use: this one's."""
        tasks = self._of._manager.kept
        if self._of._engine is not None or tasks is None or tasks.elsewhere is None:
            return None
        return tasks.elsewhere.owning

    async def adopt(self, key: ConversationId) -> tuple[AgentHandle, Driver]:
        """Resume a conversation in the other runtime. Raises as `Runtime.resume`."""
        chat = await self._of.resume(key)
        driver = self._of._residents.find_driver(key)
        if driver is None:
            raise AgentNotStartedError
        return chat, driver

    async def be_seen(self) -> None:
        """Let others see that the other runtime lives, which may have conversations open.

        Raises:
            StoreError: It cannot be told.
        """
        await self.lasting.start()
        if self._of._manager.kept is not None:
            await self._of._manager.kept.look_out()

    @property
    def names(self) -> Collection[str]:
        """Of all agents."""
        return list(self._agents)

    @property
    def answers(self) -> bool:
        """A function of the host answers what agents ask that are opened here."""
        return callable(self._house.on_approval)

    @property
    def taken(self) -> int:
        """How many jobs are at work: without those that wait for a person, and with those that
        were given up and have not stopped."""
        return self._manager.permits.used(EXECUTOR)

    @asynccontextmanager
    async def conversation(
        self, key: ConversationId, agent: AgentConfig, user: str | None
    ) -> AsyncGenerator[None]:
        """Have what a conversation's tasks run with: its tools, dependencies and state. All calls
        of it that are carried out at the same time share them.

        Raises:
            StoreError: Its state cannot be read.
            Exception: Its dependencies cannot be made.
        """
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = Place(self.lasting, self._outbox.now, key, user)
        place.users += 1
        try:
            async with place.turn:
                await place.load()
                if not place.is_open:
                    deps = await made(self._deps)
                    place.open()
                    self._settle(place, agent, deps)
            yield
        finally:
            place.users -= 1
            if not place.users:
                del self._places[key]
                await self._leave(place)

    def hand_over(self, key: ConversationId) -> bool:
        """Let the store have all that was written to the state of a conversation that is held
        here, before a call of it is said to have ended; False: it takes nothing now."""
        return self._places[key].hand_over()

    def _settle(self, place: Place, agent: AgentConfig, deps: object) -> None:
        """Let tasks of the conversation begin, and agents that they invoke."""
        key, state = place.key, place.state
        house = self._house.of(agent)
        ctx = HookContext(conversation_id=key, agent=agent.name, user=place.user, state=state)
        tools = agent.with_tools(*self._tools).toolbox
        executors = {each.name: partial(each.execute, keep=self.keep) for each in tools}
        self._manager.open_conversation(key, Scope(house.gated(executors, ctx), deps, state))
        self._families.enter(key, None, house.policies)
        self.invoker.homes[state.home] = key

    async def _leave(self, place: Place) -> None:
        place.close()
        self.invoker.homes.pop(place.state.home, None)
        self._families.leave(place.key)
        self._manager.forget(place.key)
        await self._store.delete(place.key)

    def _grounds(self, spaces: SharedSpaces, *, max_auto_turns: int, max_depth: int) -> Grounds:
        grounds = super()._grounds(spaces, max_auto_turns=max_auto_turns, max_depth=max_depth)
        self._house, self._models = self._of._house, self._of._models
        self._families = grounds.families
        return replace(grounds, house=self._house, models=self._models)


class _Steps(StoredSteps):
    """The steps of calls that came from elsewhere. Those of agents that are opened here are not
    kept: they begin anew with the call that invoked them."""

    def __init__(
        self, store: Store, now: Callable[[], float], kept: Container[ConversationId]
    ) -> None:
        super().__init__(store, now)
        self._kept = kept

    async def read(self, spec: JobSpec, key: str) -> tuple[Json] | None:
        return await super().read(spec, key) if spec.conversation_id in self._kept else None

    async def write(self, spec: JobSpec, key: str, value: object) -> Json:
        if spec.conversation_id in self._kept:
            return await super().write(spec, key, value)
        return cast("Json", value)
