"""A live agent: a conversation to talk with, listen to, look at, steer, and let go of.

What a handle can do stands in its parts, in `live`; here is how it grows, and how it ends.
"""

import asyncio
import logging
import warnings
from collections.abc import Callable, Coroutine
from typing import Any, Self

from sidetask.agents.agent import AgentConfig
from sidetask.agents.conversation import Conversation
from sidetask.agents.guards.spending import metered
from sidetask.core.budget import Budget, Meter, ambient_meter
from sidetask.core.errors import AgentNotStartedError, ConversationTakenError
from sidetask.core.events import HistoryCleared
from sidetask.runtime.driver import Driver
from sidetask.runtime.live.base import Wiring, Within
from sidetask.runtime.live.family import Kin
from sidetask.runtime.live.looking import Looking
from sidetask.runtime.live.residence import Fate, Residence
from sidetask.runtime.live.steering import Steering
from sidetask.runtime.live.talking import OnBusy, Talking
from sidetask.tasks.aio.outbox import CONVERSATION
from sidetask.tasks.aio.spawn import run_to_end, spawn

CLEANUP = 30.0
"""Seconds that a store may take to forget messages."""

__all__ = ["AgentHandle", "OnBusy"]

_log = logging.getLogger(__name__)


class AgentHandle(Talking, Steering, Looking):
    """One live agent. Made by `runtime.open` or `sidetask.open`. After its end every method
    raises `AgentNotStartedError`; its properties go on telling what was.

    It ends by itself when another process has taken its conversation up: then its methods raise
    `ConversationTakenError`, as does what waits, and letting go of it does nothing."""

    def __init__(
        self,
        wiring: Wiring,
        conversation: Conversation,
        driver: Driver,
        kin: Kin,
        residence: Residence,
    ) -> None:
        super().__init__(wiring, conversation, driver, kin)
        self._residence = residence
        self.user = residence.user
        """Whose conversation it is."""
        self.kept = False
        """The runtime holds it: it was opened for runs that name its conversation."""
        self._loop = asyncio.get_running_loop()
        self._closing: asyncio.Task[None] | None = None

    # -- grow ------------------------------------------------------------------------------

    async def spawn_subagent(
        self,
        agent: AgentConfig | str | Any,
        *,
        deps: object = None,
        budget: Budget | None = None,
        conversation_id: str | None = None,
        share_state: bool = False,
    ) -> "AgentHandle":
        """Open a live agent below this one, with a conversation of its own.

        It ends with this one, if it is not shut down before. It may do nothing that this one's
        policy forbids, and its questions go to the same handler. What it spends this one spends;
        `budget` limits it besides. Its model calls stand behind those that a person waits for.
        It has the state of this conversation if `share_state`, else one of its own, of the same
        user.

        Raises:
            DepthLimitError: It would stand too deep below the first agent.
            UnknownAgentError, ConfigurationError: As for `Runtime.open`.
            AgentNotStartedError: This agent is shut down, or was meanwhile.
        """
        self._driver.check_open()
        child: AgentHandle = await self._on.start(
            agent,
            user=self.user,
            deps=deps,
            conversation_id=conversation_id,
            parent=self.conversation_id,
            meter=metered(budget, self._spends()),
            within=Within(self.state, None) if share_state else None,
        )
        if self._is_ending:
            await child.shutdown()
            raise AgentNotStartedError
        kin = self._kin
        if kin.wards is None:
            kin.wards = {}
            self._residence.opened(lambda _: kin.close_wards())
        kin.wards[child.conversation_id] = child
        return child

    def _spends(self) -> Meter | None:
        """Where a sub-agent spends: in the turn whose tool asks for it, or in the conversation."""
        own, asks = self._conversation.meter, ambient_meter.get()
        above = asks
        while above is not None and above is not own:
            above = above.parent
        return asks if above is not None else own

    # -- change ----------------------------------------------------------------------------

    async def clear_history(self) -> None:
        """Forget all messages, here and in the store: the conversation begins anew. State, usage
        and the event log stay; work in the background goes on, and its results will be told.

        Raises:
            ConversationBusyError: A turn runs; nothing was forgotten.
            AgentNotStartedError: The agent is shut down.
        """
        self._driver.check_open()
        await self._driver.alone(lambda: run_to_end(self._clear(), within=CLEANUP))

    async def _clear(self) -> None:
        conversation = self._conversation
        await self._on.around.store.clear(conversation.id)
        messages = len(conversation.history)
        conversation.clear()
        journal = self._on.around.outbox.journal(conversation.id)
        journal.fact(CONVERSATION, HistoryCleared, messages=messages)

    # -- end -------------------------------------------------------------------------------

    async def shutdown(self) -> None:
        """End the turn and all tasks of the conversation, and let go of it. What its store keeps
        beyond the process stays there; a store in memory forgets it. Twice is fine; after a
        failure it can be tried again."""
        await asyncio.shield(self.begin_shutdown())

    async def disconnect(self) -> None:
        """Let go of the conversation and keep its data, also in a store in memory:
        `runtime.resume(conversation_id)` takes it up again. Its tasks are stopped, and the model
        will be told so.

        Raises:
            AgentNotStartedError: The agent is shut down.
            StoreError: The store does not take it now; nothing is lost, and it can be tried again.
        """
        await self._end("keep")

    async def delete(self) -> None:
        """Shut down, and delete the conversation with all its data: messages, events, state,
        results, approvals; those of its open sub-agents too. What it wrote under `user:` and
        `app:` is not its own, and stays.

        Raises:
            AgentNotStartedError: The agent is shut down.
            StoreError: The store could not do it; it can be tried again.
        """
        for ward in tuple((self._kin.wards or {}).values()):
            await ward.delete()
        await self._end("delete")

    def give_up(self) -> "asyncio.Task[None]":
        """Let go of the conversation, which another process has by now: nothing more of it is
        written here, and its tasks are that one's. Twice is fine."""
        if not self._driver.is_taken:
            _log.warning("another process has %s now: it has ended here", self.conversation_id)
            self._residence.abandon()
        return self.begin_shutdown()

    async def _end(self, fate: Fate) -> None:
        if self._driver.is_taken and fate == "keep":
            await self.shutdown()
            return
        if self._is_ending:
            self._driver.check_open()
            raise AgentNotStartedError
        self._residence.fate = fate
        await asyncio.shield(self.begin_shutdown())

    @property
    def _is_ending(self) -> bool:
        """It is closed, or is being closed, and that has not failed."""
        closing = self._closing
        if closing is None or not closing.done():
            return closing is not None
        return not closing.cancelled() and closing.exception() is None

    def begin_shutdown(self) -> "asyncio.Task[None]":
        """What `shutdown` waits for."""
        if self._closing is None or not self._is_ending:
            name = f"shutdown of {self.conversation_id}"
            self._closing = spawn(_closed(self._residence), name=name)
        return self._closing

    def on_shutdown(self, also: Callable[[], Coroutine[object, object, None]]) -> None:
        """Let what was made for this agent alone end with it."""
        self._residence.outlast(lambda _: also())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    def __del__(self) -> None:
        if self._closing is not None or self._loop.is_closed() or self._residence.is_empty:
            return
        warnings.warn(
            f"the agent of {self.conversation_id} was dropped and never shut down: use it in"
            " `async with`, or await its shutdown()",
            ResourceWarning,
            source=self,
            stacklevel=1,
        )
        self._loop.call_soon_threadsafe(_shut_down, self._residence)


def _shut_down(residence: Residence) -> None:
    spawn(_closed(residence), name="shutdown of a dropped agent")


async def _closed(residence: Residence) -> None:
    # Of the residence alone: a handle that nobody has shall be dropped while this goes on.
    try:
        await residence.close()
    except ConversationTakenError:  # while it was kept for later: there is nothing to keep
        residence.abandon()
        await residence.close()
