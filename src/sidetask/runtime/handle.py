"""A live agent: a conversation to talk with, listen to, look at, and steer."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from sidetask.agents.agent import AgentConfig
from sidetask.agents.conversation import Conversation
from sidetask.agents.turn_log import Surroundings
from sidetask.core.budget import Budget
from sidetask.core.errors import ConversationBusyError
from sidetask.core.events import Event
from sidetask.core.ids import ConversationId
from sidetask.core.messages import Content, Message, user_message
from sidetask.core.usage import Usage
from sidetask.models.base import ToolSchema
from sidetask.orchestration.invoker import Invoker
from sidetask.runtime.driver import Driver
from sidetask.runtime.listening import EventTail, TurnsCursor
from sidetask.runtime.response import ChatResponse, Reply
from sidetask.runtime.views import ConversationApprovals, ConversationTasks
from sidetask.tasks.aio.spawn import spawn
from sidetask.tasks.context import StateView
from sidetask.tasks.handle import ManagerHandle
from sidetask.tasks.values import Idle

OnBusy = Literal["queue", "raise"]


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a live agent is put together from."""

    conversation: Conversation
    driver: Driver
    tasks: ManagerHandle
    around: Surroundings
    state: StateView
    user: str | None
    invoker: Invoker


class AgentHandle:
    """One live agent. Made by `runtime.open` or `sidetask.open`; after its shutdown every method
    raises `AgentNotStartedError`."""

    def __init__(
        self, wiring: Wiring, release: Callable[[], Coroutine[object, object, None]]
    ) -> None:
        self._conversation = wiring.conversation
        self._driver = wiring.driver
        self._manager_handle = wiring.tasks
        self._around = wiring.around
        self._state = wiring.state
        self._invoker = wiring.invoker
        self._release = release
        self.user = wiring.user
        """Whose conversation it is."""
        self.kept = False
        """The runtime holds it: it was opened for runs that name its conversation."""
        self._loop = asyncio.get_running_loop()
        self._closing: asyncio.Task[None] | None = None

    # -- talk ------------------------------------------------------------------------------

    async def ask(
        self, content: Content, *, on_busy: OnBusy = "queue", budget: Budget | None = None
    ) -> Reply:
        """Say something and wait for the whole answer. Cancelling this cancels the turn.

        `budget` is what the turn may spend, and the agents that its tools open, besides what the
        conversation may.

        Raises:
            InvalidInputError: The message is empty; nothing was said.
            TurnError: The turn failed (`ModelError`, `StepLimitError`, `BudgetExceededError`, ...)
                or was cancelled (`TurnCancelledError`).
            ConversationBusyError: A turn is running and `on_busy` is `"raise"`.
            AgentNotStartedError: The agent is shut down.
        """
        response = self._ask(content, on_busy, budget)
        try:
            return await response
        except asyncio.CancelledError:
            self._driver.withdraw(response, "whoever asked was cancelled")
            raise

    async def chat(
        self, content: Content, *, on_busy: OnBusy = "queue", budget: Budget | None = None
    ) -> ChatResponse:
        """Say something; returns when its turn is admitted, before the model starts. `budget` is
        as for `ask`.

        Raises:
            InvalidInputError, ConversationBusyError, AgentNotStartedError: As for `ask`.
        """
        response = self._ask(content, on_busy, budget)
        try:
            while response.turn_id is None and response.end is None:
                await response.more()
        except asyncio.CancelledError:
            self._driver.withdraw(response, "whoever asked was cancelled")
            raise
        return response

    async def send(self, content: Content) -> None:
        """Say something without waiting: it joins the running turn before its next model call,
        or begins a turn.

        Raises:
            InvalidInputError, AgentNotStartedError: As for `ask`.
        """
        self._driver.check_open()
        self._driver.send(user_message(content))

    # -- listen ----------------------------------------------------------------------------

    def turns(
        self, *, after: str | None = None, until: Literal["idle"] | None = None
    ) -> AsyncIterator[ChatResponse]:
        """Every turn, asked for or not, as it is admitted: first those that were already, after
        the turn `after`, or else those that neither `ask`, `chat` nor `turns` gave to anybody.
        With `until="idle"` it ends when the conversation is."""
        self._driver.check_open()
        return TurnsCursor(self._driver, after=after, until_idle=until == "idle")

    def events(
        self,
        *,
        after: int | None = None,
        follow: bool = True,
        wanted: Callable[[Event], bool] | None = None,
    ) -> EventTail:
        """The conversation's events: from now on, or after the fact number `after` (0: from the
        first that is kept) and then live, each once and in order. `follow=False` ends with the
        facts that are there; `wanted` says which events are told at all."""
        self._driver.check_open()
        store, outbox = self._around.store, self._around.outbox
        key = self.conversation_id
        return EventTail(store, outbox, key, after=after, follow=follow, wanted=wanted)

    # -- steer -----------------------------------------------------------------------------

    async def interrupt(self, scope: Literal["turn", "all"] = "turn") -> None:
        """A user's Stop: end the running turn and what it waits for, and wait until it has.

        The background lives, unless `scope` is `"all"`. No turn begins by itself until the user
        speaks again. The history stays valid: every call is answered, partial text is kept.
        """
        self._driver.check_open()
        self._driver.park()
        stopped = self.tasks.running() if scope == "all" else []
        for task in stopped:
            self._manager_handle.task(task.id).cancel("the user stopped everything")
        await self._driver.stop_turn("the user interrupted the turn")
        for task in stopped:
            await self._manager_handle.wait(task.id)

    async def cancel(self) -> None:
        """End the running turn; results may begin another one by themselves."""
        self._driver.check_open()
        await self._driver.stop_turn("the turn was cancelled")

    async def wait_for_idle(self, timeout: float | None = None) -> Idle:
        """Wait until no turn runs or is about to, and no task is queued or running.

        Raises:
            TimeoutError: It took longer than `timeout` seconds.
        """
        self._driver.check_open()
        self._driver.check_outside()
        async with asyncio.timeout(timeout):
            while not self._driver.is_idle:
                await self._driver.changed()
                self._driver.check_open()
        return await self._manager_handle.wait_for_idle(self.conversation_id)

    @property
    def is_idle(self) -> bool:
        return self._driver.is_idle

    # -- look ------------------------------------------------------------------------------

    def history(self) -> Sequence[Message]:
        """All messages so far."""
        self._driver.check_open()
        return tuple(self._conversation.history)

    @property
    def conversation_id(self) -> ConversationId:
        return self._conversation.id

    @property
    def config(self) -> AgentConfig:
        return self._conversation.config

    @property
    def turn_count(self) -> int:
        return self._conversation.turns

    @property
    def total_usage(self) -> Usage:
        return self._conversation.usage

    @property
    def last_turn_usage(self) -> Usage:
        return self._conversation.last_usage

    @property
    def compaction_indices(self) -> Sequence[int]:
        """For each compaction, the index in `history()` of the first message that the model was
        still given as it is."""
        return tuple(self._conversation.context.indices)

    @property
    def last_response(self) -> ChatResponse | None:
        """The latest turn, asked for or not."""
        return self._driver.turns[-1] if self._driver.turns else None

    @property
    def last_structured_output(self) -> object:
        """The latest output of an agent with an `output_type`."""
        return self._conversation.last_output

    @property
    def available_tools(self) -> Sequence[ToolSchema]:
        """The tools that the model is told of."""
        return self._conversation.toolset.schemas

    @property
    def state(self) -> StateView:
        """What this conversation's tools share."""
        return self._state

    @property
    def invoker(self) -> Invoker:
        """How agents are invoked beside this conversation: `invoke(..., conversation=chat)`."""
        self._driver.check_open()
        return self._invoker

    @property
    def tasks(self) -> ConversationTasks:
        """The conversation's tasks."""
        return ConversationTasks(self._manager_handle, self.conversation_id)

    @property
    def approvals(self) -> ConversationApprovals:
        """What waits for a person's decision."""
        return ConversationApprovals(self._manager_handle, self.conversation_id)

    # -- end -------------------------------------------------------------------------------

    async def shutdown(self) -> None:
        """End the turn and all tasks of the conversation, and let go of it. Twice is fine; after
        a failure it can be tried again."""
        await asyncio.shield(self.begin_shutdown())

    def begin_shutdown(self) -> "asyncio.Task[None]":
        """What `shutdown` waits for."""
        closing = self._closing
        if closing is None or (closing.done() and (closing.cancelled() or closing.exception())):
            closing = self._closing = spawn(
                self._release(), name=f"shutdown of {self.conversation_id}"
            )
        return closing

    def on_shutdown(self, also: Callable[[], Coroutine[object, object, None]]) -> None:
        """Let what was made for this agent alone end with it."""
        release = self._release

        async def both() -> None:
            await release()
            await also()

        self._release = both

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    def __del__(self) -> None:
        if self._closing is not None or self._loop.is_closed():
            return
        warnings.warn(
            f"the agent of {self.conversation_id} was dropped and never shut down: use it in"
            " `async with`, or await its shutdown()",
            ResourceWarning,
            source=self,
            stacklevel=1,
        )
        self._loop.call_soon_threadsafe(_shut_down, self._release)

    def _ask(self, content: Content, on_busy: OnBusy, budget: Budget | None) -> ChatResponse:
        self._driver.check_open()
        self._driver.check_outside()
        message = user_message(content)
        if on_busy == "raise" and self._driver.busy:
            raise ConversationBusyError(self.conversation_id)
        response = ChatResponse("user")
        response.budget = budget
        response.given = True
        self._driver.ask(message, response)
        return response


def _shut_down(release: Callable[[], Coroutine[object, object, None]]) -> None:
    spawn(release(), name="shutdown of a dropped agent")
