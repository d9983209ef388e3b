"""Talking with a live agent, and listening to it."""

import asyncio
from collections.abc import Callable
from typing import Literal

from sidetask.core.budget import Budget
from sidetask.core.errors import ConfigurationError, ConversationBusyError
from sidetask.core.events import Event
from sidetask.core.messages import Content, UserMessage, user_message
from sidetask.runtime.driver import GIVEN_UP
from sidetask.runtime.listening import EventTail, TurnsCursor
from sidetask.runtime.live.base import Live
from sidetask.runtime.response import ChatResponse, Reply

OnBusy = Literal["queue", "raise"]


class Talking(Live):
    """The part of a handle that asks and hears."""

    # -- talk ------------------------------------------------------------------------------

    async def ask(
        self, content: Content, *, on_busy: OnBusy = "queue", budget: Budget | None = None
    ) -> Reply:
        """Say something and wait for the whole answer. Cancelling this cancels the turn, and is
        done when that is closed, with a valid history.

        `budget` is what the turn may spend, and the agents that its tools open, besides what the
        conversation may.

        Raises:
            InvalidInputError: The message is empty; nothing was said.
            TurnError: The turn failed (`ModelError`, `StepLimitError`, `BudgetExceededError`, ...)
                or was cancelled (`TurnCancelledError`).
            ConversationBusyError: A turn is running and `on_busy` is `"raise"`.
            ConfigurationError: `on_busy` is neither.
            AgentNotStartedError: The agent is shut down.
            ConversationTakenError: Another process has taken the conversation up.
        """
        message, response = self._asked(content, on_busy, budget)
        return await self._driver.answer(message, response)

    async def chat(
        self, content: Content, *, on_busy: OnBusy = "queue", budget: Budget | None = None
    ) -> ChatResponse:
        """Say something; returns when its turn is admitted, before the model starts. `budget` is
        as for `ask`.

        Raises:
            InvalidInputError, ConversationBusyError: As for `ask`.
            ConfigurationError, AgentNotStartedError: As for `ask`.
        """
        message, response = self._asked(content, on_busy, budget)
        self._driver.ask(message, response)
        try:
            while response.turn_id is None and response.end is None:
                await response.more()
        except asyncio.CancelledError:
            self._driver.withdraw(response, GIVEN_UP)
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
    ) -> TurnsCursor:
        """Every turn, asked for or not, as it is admitted: first those that were already, after
        the turn `after`, or else those that neither `ask`, `chat` nor `turns` gave to anybody.
        With `until="idle"` it ends when the conversation is.

        A reader that falls more than 16 turns behind loses the oldest: `missed` counts them.

        Raises:
            ConfigurationError: `until` is something else.
            AgentNotStartedError: The agent is shut down.
        """
        self._driver.check_open()
        if until not in (None, "idle"):
            raise ConfigurationError(f"until is 'idle' or None, not {until!r}")
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
        store, outbox = self._on.around.store, self._on.around.outbox
        key = self.conversation_id
        return EventTail(store, outbox, key, after=after, follow=follow, wanted=wanted)

    def _asked(
        self, content: Content, on_busy: OnBusy, budget: Budget | None
    ) -> tuple[UserMessage, ChatResponse]:
        self._driver.check_open()
        self._driver.check_outside()
        message = user_message(content)
        if on_busy != "queue":
            if on_busy != "raise":
                raise ConfigurationError(f"on_busy is 'queue' or 'raise', not {on_busy!r}")
            if self._driver.busy:
                raise ConversationBusyError(self.conversation_id)
        response = ChatResponse("user")
        response.budget = budget
        response.given = True
        return message, response
