"""Opening one live agent, and letting it go: the same steps, forwards and back.

    name · data · hooks · driver and tasks · approvals · triggers · (sub-agents, as they come)

Each step that opens something notes at once how it is closed, so a start that fails or is
cancelled half-way closes what it had opened, and nothing else. What was kept of the conversation
is put back before anything of it runs.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sidetask.agents.conversation import Conversation
from sidetask.agents.governor import Seat
from sidetask.agents.guards.spending import metered
from sidetask.agents.policies.hooks import HookContext
from sidetask.agents.turn.log import TurnLog
from sidetask.core.errors import ConversationTakenError, StoreError
from sidetask.core.ids import ConversationId, TurnId
from sidetask.runtime.driver import Driver
from sidetask.runtime.handle import AgentHandle
from sidetask.runtime.house.approving import ApprovalDesk
from sidetask.runtime.live.family import Kin
from sidetask.runtime.live.residence import Residence
from sidetask.runtime.residents.asking import Asked, Plan
from sidetask.runtime.residents.grounds import Grounds
from sidetask.runtime.triggers.base import Trigger, TriggerContext
from sidetask.runtime.triggers.running import Triggers
from sidetask.runtime.views import ConversationApprovals
from sidetask.state.state import BorrowedState, State
from sidetask.stores.base import ConversationRecord
from sidetask.tasks.parts.runner import Scope

if TYPE_CHECKING:  # for who keeps conversations: every program has this module
    from sidetask.runtime.keeping.keeper import Keeper
    from sidetask.runtime.keeping.resuming import Kept
    from sidetask.runtime.keeping.shared import SharedKeeper
    from sidetask.runtime.keeping.states import KeptBoard
    from sidetask.tasks.durable.below import Stay
    from sidetask.tasks.owning import Owning

_log = logging.getLogger(__name__)

ENDED = "the agent was shut down"


class Move(Residence):
    """One live agent on its way in, and out again."""

    __slots__ = (
        "_board",
        "_conversation",
        "_driver",
        "_is_taken_up",
        "_keeper",
        "_kin",
        "_on",
        "_owning",
        "_record",
        "_shared",
        "_vacate",
        "_was_welcomed",
        "adopted",
        "key",
    )

    def __init__(
        self,
        grounds: Grounds,
        key: ConversationId,
        kin: Kin,
        vacate: Callable[[ConversationId], None],
        shared: "SharedKeeper | None",
    ) -> None:
        super().__init__()
        self.fate = "drop"  # until it is open: what is kept of it stays as it is
        self._on = grounds
        self._shared = shared
        self._board: KeptBoard | None = None
        self.key = key
        self._kin = kin
        self._vacate = vacate
        self._record: ConversationRecord | None = None
        self._keeper: Keeper | None = None
        self._was_welcomed = False
        self._is_taken_up = False
        self._owning: Owning | Stay | None = None
        self.adopted = False
        """This process has taken the conversation up by itself."""
        self.opened(Move._leave)

    def own(self, owning: "Owning | Stay") -> None:
        """Others see that it is open here, until it is let go."""
        self._owning = owning

    def abandon(self) -> None:
        super().abandon()
        on = self._on
        journal = on.outbox.find(self.key)
        if journal is not None:  # else it was let go of already
            journal.fall_silent()
        if self._keeper is not None:
            self._keeper.close()
        if on.manager.kept is not None:
            on.manager.kept.let_go(self.key, is_taken=True)
        self._driver.end("another process has the conversation", is_taken=True)

    # -- in ------------------------------------------------------------------------------------

    async def enter(self, plan: Plan, deps: object, asked: Asked, kept: "Kept | None") -> Driver:
        """Open the conversation, up to its driver."""
        self.user = asked.get("user")
        if kept is not None and kept.record is not None:
            self._record, self.user = kept.record, kept.record.user
        on, within = self._on, asked.get("within")
        if within is not None:
            state = BorrowedState(within.state)
        else:
            state = State(on.spaces, user=self.user, now=on.outbox.now)
            if kept is not None or self._shared is not None:
                await self._put_back(state, kept)
        conversation = self._conversation = self._converse(plan, asked, state)
        self.opened(Move._let_go)
        on.manager.open_conversation(self.key, self._scope(plan, deps, conversation))
        if not isinstance(state, BorrowedState):
            on.invoker.homes[state.home] = self.key
        if on.observer is not None:
            on.observer.opened(self.key, plan.config.name, conversation.parent_id)
        on.states.open(self.key, state)
        if plan.config.flow is not None:
            conversation.govern(plan.config.flow.govern(self._seat(conversation)))
        if on.store.durable:
            self._keeper = self._make_keeper()
            self._keeper.write_through()
        if kept is not None:
            self._is_taken_up = True
            if self._keeper is not None and kept.last_turn is not None:
                self._keeper.go_on(kept.last_turn.value)
            if self.adopted and on.manager.kept is not None and kept.was_cut_off:
                on.manager.kept.go_on_later(self.key)
            from sidetask.runtime.keeping.resuming import resume  # noqa: PLC0415 - as above

            await resume(conversation, kept, on.manager, on.around)
        if conversation.hooks is not None:
            self.opened(Move._say_goodbye)
        self._driver = Driver(
            conversation,
            on.manager,
            on.around,
            on.max_auto_turns,
            on.observer,
        )
        self.opened(Move._end_work)
        return self._driver

    def hand_out(self) -> AgentHandle:
        """The handle. Whoever has it holds the live agent open."""
        return AgentHandle(self._on, self._conversation, self._driver, self._kin, self)

    async def welcome(self, plan: Plan, triggers: Sequence[Trigger]) -> None:
        """Let the hooks know, and begin to answer, and to act by itself."""
        self._was_welcomed = True
        if self._conversation.hooks is not None:
            await self._conversation.hooks.started()
            self._driver.check_open()
        handler = plan.house.handler
        if handler is not None:
            approvals = ConversationApprovals(self._on.manager.handle(), self.key)
            desk = ApprovalDesk(handler, approvals, self._on.outbox.journal(self.key))
            self.opened(lambda _: desk.close())
        tasks = self._on.manager.kept
        if self._is_taken_up:
            if tasks is not None:
                await tasks.revive(self.key)
            self._driver.kick()
        if tasks is not None:
            tasks.attend(self.key, self._driver.send, self._driver.go_on)
            self.opened(Move._ignore_orders)
        if triggers:
            started = self._start_triggers(triggers)
            self.opened(lambda _: started.close())

    async def _put_back(self, state: State, kept: "Kept | None") -> None:
        """What was kept of the state, and what others share with it."""
        on, user = self._on, self.user
        if self._shared is not None:
            shared = self._shared
            self.opened(lambda _: shared.leave(self.key, user))
            self._board = await shared.enter(self.key, user, state)
        elif kept is not None:
            from sidetask.runtime.keeping.states import restore  # noqa: PLC0415 - as above

            entries = await on.store.load_state(self.key, user=user)
            restore(entries, state.own, on.spaces, user)

    def _converse(self, plan: Plan, asked: Asked, state: State) -> Conversation:
        config = plan.config
        conversation = Conversation(self.key, config, plan.model, plan.toolset, state, plan.writer)
        within = asked.get("within")
        conversation.parent_id = None if within is None else within.parent_id
        parent = self._kin.parent
        if parent is not None:
            conversation.parent_conversation_id = parent.id
            conversation.aside = True
        spends = asked.get("meter")
        if spends is not None:
            conversation.meter = metered(config.budget, spends)
        return conversation

    def _scope(self, plan: Plan, deps: object, conversation: Conversation) -> Scope:
        """What the conversation's tasks run with: their gate stays here, whoever carries them
        out. A guest's state is only here, so its calls stay, too."""
        tools, house, kept = plan.toolset, plan.house, self._on.manager.kept
        executors, take, state = tools.executors, None, conversation.state
        agent, user = plan.config.name, self.user
        elsewhere = None if kept is None else kept.elsewhere
        if elsewhere is not None and not isinstance(state, BorrowedState):
            sending = elsewhere.sending(executors, tools.portable, agent=agent, user=user)
            executors, take = sending.executors, sending.take
        if house.has_rules:
            ctx = HookContext(conversation_id=self.key, agent=agent, user=user, state=state)
            house.settle(conversation, ctx)
            executors = house.gated(executors, ctx)
        return Scope(executors, deps, state, take)

    def _seat(self, conversation: Conversation) -> Seat:
        return Seat(
            conversation_id=self.key,
            state=conversation.state,
            is_guest=isinstance(conversation.state, BorrowedState),
            tools=conversation.toolset.tools,
            manager=self._on.manager,
            events=self._on.outbox.journal(self.key),
            meter=conversation.meter,
        )

    def _make_keeper(self) -> "Keeper":
        from sidetask.runtime.keeping.keeper import Keeper  # noqa: PLC0415 - as above

        on = self._on
        return Keeper(
            self._conversation,
            on.manager,
            on.outbox,
            on.store,
            user=self.user,
            record=self._record,
            board=self._board,
            begin=None if self._owning is None else partial(self._owning.enter, self.key),
        )

    def _start_triggers(self, triggers: Sequence[Trigger]) -> Triggers:
        context = partial(_context, self._on, self._driver, self._conversation)
        started = Triggers(triggers, context, self._on.outbox.journal(self.key))
        started.start()
        return started

    # -- out -----------------------------------------------------------------------------------

    async def _end_work(self) -> None:
        """End the turns, the flow, and all tasks."""
        on = self._on
        self._leave_word()
        await self._driver.close()
        while self._driver.unsaid and self._is_kept:
            log = TurnLog(on.around, self._conversation, TurnId(f"turn-{self._conversation.turns}"))
            await log.commit(self._driver.unsaid[0])
            self._driver.unsaid = self._driver.unsaid[1:]
        if self._conversation.governor is not None:
            await self._conversation.governor.close()
        tasks = on.manager.handle()
        if self.fate in ("keep", "drop") and on.manager.kept is not None:
            on.manager.kept.let_go(self.key)
        found = tasks.list_running(self.key)
        for task in found:  # their ends are news, and no reason to wake who takes it up again
            tasks.set_on_complete(task.id, "notify")
        running = [tasks.task(task.id) for task in found]
        for task in running:
            task.cancel("the agent was disconnected" if self.fate == "keep" else ENDED)
        for task in running:
            await task.wait()

    def _leave_word(self) -> None:
        """For who has it next: what is cut off here is to be gone on with, if nobody here wanted
        it cut off. Results that get no turn here, after a Stop or after many turns in a row, are
        no reason for others to take it up."""
        tasks = self._on.manager.kept
        if tasks is None or not self._is_kept:
            return
        if self.adopted and (self._driver.driven or self._conversation.steering):
            tasks.go_on_later(self.key)
        if self._driver.has_reason and not self._driver.busy:
            tasks.hush(self.key)

    async def _ignore_orders(self) -> None:
        if self._on.manager.kept is not None:
            self._on.manager.kept.leave(self.key)

    async def _say_goodbye(self) -> None:
        if self._was_welcomed and self._conversation.hooks is not None:
            await self._conversation.hooks.ended()

    async def _let_go(self) -> None:
        """Keep what is to be kept, and forget the rest."""
        on, state = self._on, self._conversation.state
        if self._is_kept:
            await self._write_down()
        if self._keeper is not None:
            self._keeper.close()
        if on.observer is not None:
            on.observer.closed(self.key)
        on.states.close(self.key)
        state.close()
        if on.invoker.homes.get(state.home) == self.key:
            del on.invoker.homes[state.home]
        on.manager.forget(self.key)

    async def _write_down(self) -> None:
        keeper = self._keeper or self._make_keeper()
        log = TurnLog(self._on.around, self._conversation, TurnId(""))
        try:
            if self._conversation.unwritten:
                await log.write_rest()
            await keeper.keep()
        except ConversationTakenError:
            self.abandon()  # there is nothing to keep
        except StoreError:
            if self.fate == "keep":
                raise
            _log.exception("%s was shut down, and not all of it was stored", self.key)

    async def _leave(self) -> None:
        if self._is_deleted:
            await self._on.store.delete(self.key)
        if self._owning is not None:
            await self._owning.leave(self.key, failed=self.fate == "drop")
        self._vacate(self.key)

    @property
    def _is_deleted(self) -> bool:
        fate = self.fate
        return fate == "delete" or (fate == "end" and self._on.forgets)

    @property
    def _is_kept(self) -> bool:
        return self.fate != "drop" and not self._is_deleted


def _context(on: Grounds, driver: Driver, conversation: Conversation, name: str) -> TriggerContext:
    return TriggerContext(
        name,
        driver,
        conversation.state,
        conversation_id=conversation.id,
        now=on.outbox.now,
        dispatcher=partial(on.make_dispatcher, conversation.id),
    )
