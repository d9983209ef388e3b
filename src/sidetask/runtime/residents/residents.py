"""The live agents of a runtime: which there are, and whether one more can be opened."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from os import urandom
from typing import TYPE_CHECKING, cast
from weakref import ReferenceType, ref

from sidetask.agents.agent import AgentConfig
from sidetask.agents.tools.tool import AnyTool
from sidetask.core.errors import (
    AgentNotStartedError,
    ConversationNotFoundError,
    InvalidInputError,
)
from sidetask.core.ids import ConversationId
from sidetask.runtime.driver import Driver
from sidetask.runtime.handle import AgentHandle
from sidetask.runtime.live.family import Kin
from sidetask.runtime.residents.asking import Asked, Plan
from sidetask.runtime.residents.grounds import Grounds
from sidetask.runtime.residents.moving import Move
from sidetask.stores.bounds import check_name
from sidetask.tasks.aio.spawn import run_to_end

if TYPE_CHECKING:  # for who keeps conversations: every program has this module
    from sidetask.runtime.keeping.gates import SharedGates
    from sidetask.runtime.keeping.resuming import Kept
    from sidetask.runtime.keeping.shared import SharedKeeper
    from sidetask.tasks.durable.kept import KeptTasks

CLEANUP = 5.0
"""Seconds that letting go of an agent may take whose opening failed or was cancelled."""


class Residents:
    """All that are open."""

    def __init__(self, grounds: Grounds) -> None:
        self._on = grounds
        # A handle that its owner drops shall be dropped: its conversation ends then, too.
        self._handles: dict[ConversationId, ReferenceType[AgentHandle]] = {}
        self._drivers: dict[ConversationId, Driver | None] = {}
        self._shared = None if grounds.forgets else _share_state(grounds)
        self._gates = _share_gates(grounds) if grounds.store.durable else None
        self._ids = count(1)
        self._closed = False
        if grounds.manager.kept is not None:
            grounds.manager.kept.on_taken = self._give_up
        self._vacate = self._leave  # kept: a method is made anew whenever it is looked up

    def close(self) -> None:
        """Open nothing any more."""
        self._closed = True

    async def part(self) -> None:
        """Tell other processes nothing more, and hear nothing of them."""
        if self._gates is not None:
            await self._gates.stop()

    @property
    def handles(self) -> tuple[AgentHandle, ...]:
        """The live agents that somebody has."""
        found = [each() for each in self._handles.values()]
        return tuple([handle for handle in found if handle is not None])

    def find(self, key: ConversationId) -> AgentHandle | None:
        """The live agent of a conversation, if somebody has it."""
        found = self._handles.get(key)
        return None if found is None else found()

    def find_driver(self, key: ConversationId) -> Driver | None:
        """Who runs the turns of a conversation that is open."""
        driver = self._drivers.get(key)
        return None if driver is None or driver.closed else driver

    def is_taken(self, key: ConversationId) -> bool:
        """The conversation is open, or is being opened."""
        return key in self._drivers

    def new_id(self, wanted: str | None = None) -> ConversationId:
        """A name for a conversation.

        Raises:
            InvalidInputError: The wanted one is taken, or no name.
        """
        if wanted is not None:
            check_name("the id of a conversation", wanted)
            if self.is_taken(ConversationId(wanted)):
                raise InvalidInputError(f"conversation {wanted!r} is open already")
            return ConversationId(wanted)
        if self._on.store.durable:  # others' conversations are in it too
            return ConversationId(f"conversation-{urandom(16).hex()}")
        while (made := ConversationId(f"conversation-{next(self._ids)}")) in self._drivers:
            continue
        return made

    async def start(
        self, config: AgentConfig, asked: Asked, *, toolbox: Sequence[AnyTool]
    ) -> AgentHandle:
        """Open an agent whose tools are all there. A start that fails leaves nothing behind."""
        on = self._on
        plan = self._plan(config, toolbox, asked)
        if plan.parent is not None:
            asked = self._below(plan.parent, asked)
        user = asked.get("user")
        if user is not None:
            check_name("a user", user)
        given = asked.get("deps")
        deps = on.deps if given is None else given
        if callable(deps):
            deps = await made(deps)
        await on.store.start()
        if self._gates is not None:
            await self._gates.start()
        if on.manager.kept is not None:
            await on.manager.kept.look_out()
        if self._closed:
            raise AgentNotStartedError
        wanted = asked.get("conversation_id")
        key = self.new_id(wanted)
        self._drivers[key] = None
        kin = on.families.enter(key, plan.parent, plan.house.policies)
        move = Move(on, key, kin, self._vacate, self._shared)
        try:
            if on.manager.kept is not None:
                await self._take(on.manager.kept, move, plan, asked)
            kept = None if wanted is None else await self._find_kept(key, plan, asked)
            if kept is None and not on.store.durable:
                move.fate = "end"
            self._drivers[key] = await move.enter(plan, deps, asked, kept)
            if self._closed:
                raise AgentNotStartedError
            handle = move.hand_out()
            self._handles[key] = ref(handle)
            await move.welcome(plan, asked.get("triggers", ()))
        except BaseException:  # the one boundary: whatever went wrong, nothing is left behind
            await run_to_end(self._move_out(move), within=CLEANUP)
            raise
        move.fate = "end"
        return handle

    def _below(self, parent: Kin, asked: Asked) -> Asked:
        """What works for a user's agent is the user's, too."""
        above = self.find(parent.id)
        return asked if above is None else {"user": above.user, **asked}

    async def _take(self, tasks: "KeptTasks", move: Move, plan: Plan, asked: Asked) -> None:
        """Be the one that has it, before it is read."""
        key, within = move.key, asked.get("within")
        if plan.parent is not None and within is not None and within.parent_id is not None:
            move.own(tasks.stay(plan.parent.id, within.parent_id))
            return
        if tasks.elsewhere is None:
            return
        owning, is_named = tasks.elsewhere.owning, asked.get("conversation_id") is not None
        if plan.parent is None and within is None:
            move.own(owning)
            move.adopted = await owning.take(key, is_new=not is_named)
        elif is_named:
            await owning.take_below(key)

    async def _move_out(self, move: Move) -> None:
        """Close what was opened until now, unless somebody does so already."""
        handle = self.find(move.key)
        if handle is None:
            await move.close()
        else:
            await handle.shutdown()

    def _plan(self, config: AgentConfig, toolbox: Sequence[AnyTool], asked: Asked) -> Plan:
        """Look whether it can be opened at all."""
        on = self._on
        parent = self._parent(asked)
        if parent is not None:
            on.families.check(parent)
        model, writer = on.models.open_for(config)
        toolset = on.toolsets.of(toolbox, config.output_type)
        if config.flow is not None:
            config.flow.compile(toolset.tools)
        house = (on.house if parent is None else on.house.below(parent.policies)).of(config)
        house.check(kept=on.store.durable)
        return Plan(config, model, writer, toolset, house, parent)

    def _parent(self, asked: Asked) -> Kin | None:
        by, within = asked.get("parent"), asked.get("within")
        if by is None:
            return None if within is None else self._on.families.parent_of(within.parent_id)
        parent = self._on.families.find(by)
        if parent is None:
            raise AgentNotStartedError
        return parent

    async def _find_kept(self, key: ConversationId, plan: Plan, asked: Asked) -> "Kept | None":
        """What there is of a conversation that was named."""
        from sidetask.runtime.keeping.resuming import find  # noqa: PLC0415 - as above

        kept = await find(self._on.store, key)
        if kept is not None:
            kept.check(plan.config.name, asked.get("user"))
        elif asked.get("resumed"):
            raise ConversationNotFoundError(key)
        return kept

    def _give_up(self, key: ConversationId) -> None:
        handle = self.find(key)
        if handle is not None:
            handle.give_up()

    def _leave(self, key: ConversationId) -> None:
        self._on.families.leave(key)
        self._drivers.pop(key, None)
        self._handles.pop(key, None)


async def made(deps: object) -> object:
    """The dependencies: as they are, or made by a function for this conversation."""
    if not (inspect.isroutine(deps) or isinstance(deps, partial)):
        return deps
    found = cast("Callable[[], object]", deps)()
    return await found if inspect.isawaitable(found) else found


def _share_state(grounds: Grounds) -> "SharedKeeper":
    from sidetask.runtime.keeping.shared import SharedKeeper  # noqa: PLC0415 - as above

    return SharedKeeper(grounds.spaces, grounds.store)


def _share_gates(grounds: Grounds) -> "SharedGates":
    from sidetask.runtime.keeping.gates import SharedGates  # noqa: PLC0415 - as above

    return SharedGates(grounds.around.quota, grounds.store, grounds.outbox.now)
