"""What a trigger is, and what it may do in its conversation.

A trigger is a coroutine that lives as long as its conversation. It waits for whatever it waits
for, and then starts a turn or a dispatch. It does one thing at a time, so it never overlaps with
itself.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias, cast

from sidetask.core.errors import ConfigurationError, TurnCancelledError
from sidetask.core.errors.checks import check_list
from sidetask.core.ids import ConversationId, value
from sidetask.core.jsons import Json
from sidetask.core.messages import Content, user_message
from sidetask.orchestration.base import Invocable
from sidetask.orchestration.dispatcher import BackgroundAgentDispatcher
from sidetask.runtime.driver import Driver
from sidetask.runtime.response import ChatResponse, Reply
from sidetask.state.state import StateView
from sidetask.tasks.handle import TaskHandle

LOOK_AGAIN = 60.0
"""Seconds after which a long wait looks at the clock again: machines sleep, clocks are set."""


class TriggerContext:
    """A trigger's whole view of its conversation."""

    def __init__(
        self,
        name: str,
        driver: Driver,
        state: StateView,
        *,
        conversation_id: ConversationId,
        now: Callable[[], float],
        dispatcher: Callable[[], BackgroundAgentDispatcher],
    ) -> None:
        self.name = name
        self.state = state
        """What the conversation's tools share."""
        self.conversation_id = conversation_id
        self.now = now
        """Seconds since the epoch."""
        self._driver = driver
        self._make_dispatcher = dispatcher
        self._dispatcher: BackgroundAgentDispatcher | None = None

    async def turn(self, content: Content) -> Reply:
        """Start a turn with this message, when no other runs, and wait for its end.

        Raises:
            TurnError: The turn failed, or was interrupted (`TurnCancelledError`).
            AgentNotStartedError: The conversation has ended.
        """
        self._driver.check_open()
        response = ChatResponse("trigger")
        response.given = False  # nobody has it: `turns()` tells of it
        self._driver.ask(user_message(content), response)
        try:
            return await response
        except asyncio.CancelledError:
            self._driver.withdraw(response, f"the trigger {self.name} was stopped")
            raise

    def dispatch(self, name: str, agent: Invocable, input: Json = None) -> TaskHandle:
        """Run an agent beside the conversation; its result lands in the state under `name`."""
        if self._dispatcher is None:
            self._dispatcher = self._make_dispatcher()
        return self._dispatcher.dispatch(name, agent, input=input)

    async def sleep_until(self, when: float) -> None:
        """Sleep until the clock shows `when`, in seconds since the epoch."""
        while (left := when - self.now()) > 0:  # noqa: ASYNC110 - nothing tells of the time
            await asyncio.sleep(min(left, LOOK_AGAIN))


Act: TypeAlias = Callable[[TriggerContext], Awaitable[object]]
Then: TypeAlias = str | Act
"""What is done when it is time: a message that starts a turn, or an async function."""


@value(frozen=True)
class Trigger:
    """Something that starts turns or dispatches by itself. Made by `every`, `cron`, `on_state`
    and `on_file_change`; any async function of a `TriggerContext` is one, too."""

    name: str
    run: Act


TriggerLike: TypeAlias = Trigger | Act


def as_trigger(given: TriggerLike) -> Trigger:
    """The trigger that is meant.

    Raises:
        ConfigurationError: It is neither a trigger nor an async function.
    """
    if isinstance(given, Trigger):
        return given
    if not inspect.iscoroutinefunction(given):
        raise ConfigurationError(
            f"a trigger is every(), cron(), on_state(), on_file_change() or an async function of"
            f" its context, not {given!r}"
        )
    return Trigger(given.__name__, cast("Act", given))


def as_triggers(given: Iterable[TriggerLike]) -> list[Trigger]:
    """The triggers that are meant. Raises as `as_trigger` does."""
    check_list("triggers", given)
    return [as_trigger(each) for each in given]


async def act(then: Then, ctx: TriggerContext, details: str = "") -> None:
    """Do what a trigger is for. A turn that the user stops is no failure of the trigger."""
    if isinstance(then, str):
        try:
            await ctx.turn(f"{then}\n\n{details}" if details else then)
        except TurnCancelledError:
            return
    else:
        await then(ctx)


def check_then(then: object, what: str) -> None:
    """Refuse what cannot be done.

    Raises:
        ConfigurationError: It is neither a text nor an async function.
    """
    if isinstance(then, str) and then.strip():
        return
    if not inspect.iscoroutinefunction(then):
        raise ConfigurationError(
            f"{what}: say what to do, as a message or an async function of the context"
        )
