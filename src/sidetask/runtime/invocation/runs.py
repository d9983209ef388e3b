"""A run in the hands of the host that asked for it.

    building -> opening -> waiting (its turn) -> running -> completed / failed / cancelled

A run that ends before its turn was admitted has no `RunStarted`; its one end is told all the
same, by itself. After that the turn tells it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import Generic, Literal, Self, TypeAlias, TypeVar

from sidetask.agents.turn.loop import TurnEnd
from sidetask.core.errors import TurnCancelledError
from sidetask.core.events import Event, RunCancelled, RunFailed
from sidetask.core.ids import ConversationId, RunId, TurnId, value
from sidetask.core.messages import UserMessage
from sidetask.core.turns import RunOrder
from sidetask.core.usage import Usage
from sidetask.runtime.driver import Driver
from sidetask.runtime.response import ChatResponse, EventCursor, TextCursor
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.tasks.values import TaskSnapshot

RunStatus: TypeAlias = Literal["waiting", "running", "completed", "failed", "cancelled"]
Tell: TypeAlias = "Callable[[RunResponse, type[Event], dict[str, object]], None]"
"""Tells an event of a run that has no turn."""


@value(kw_only=True)
class RunOutput:
    """What a run came to. `str(output)` is its text."""

    text: str
    output: object
    """The structured output, if the agent has an `output_type`; else the text."""
    finish_reason: str
    """Of the last reply, in the provider's words."""
    steps: int
    """Model calls."""
    usage: Usage
    run_id: RunId
    turn_id: TurnId
    conversation_id: ConversationId

    def __str__(self) -> str:
        return self.text


class RunResponse(ChatResponse):
    """The turn of a run. It tells its end by itself if its turn never began."""

    __slots__ = ("_tell", "conversation_id")

    def __init__(self, order: RunOrder, conversation_id: ConversationId, tell: Tell) -> None:
        super().__init__("user", order=order)
        self.conversation_id = conversation_id
        self._tell = tell
        self.given = True

    def finish(self, end: TurnEnd, pending: tuple[TaskSnapshot, ...] = ()) -> None:
        if self.end is not None:
            return
        if self.turn_id is None and end.error is not None:
            self._tell_end(end.error)
        super().finish(end, pending)

    def _tell_end(self, error: BaseException) -> None:
        if isinstance(error, TurnCancelledError):
            self._tell(self, RunCancelled, {"reason": error.reason})
        else:
            why = str(error) or type(error).__name__
            self._tell(self, RunFailed, {"error": why, "error_type": type(error).__name__})


class RunHandle:
    """One run. Await it for its `RunOutput`, or iterate it for its events, as often as you like:
    each iteration begins at the beginning. Giving up a wait leaves the run alone."""

    def __init__(self, order: RunOrder, conversation_id: ConversationId, tell: Tell) -> None:
        self._token = CancelToken()
        self._driver: Driver | None = None
        self._response = RunResponse(order, conversation_id, tell)
        self.built = asyncio.Event()
        self.settled = asyncio.Event()

    @property
    def run_id(self) -> RunId:
        """Known at once. Only a builder that returns a repeated `client_request_id` changes it:
        to that of the first run, for which the handle stands from then on."""
        order = self._response.order
        assert order is not None
        return order.run_id

    @property
    def conversation_id(self) -> ConversationId:
        """Where it runs; until its request is built, where it would."""
        return self._response.conversation_id

    @property
    def status(self) -> RunStatus:
        response = self._response
        if response.end is None and response.turn_id is None:
            return "waiting"
        return response.status

    @property
    def error(self) -> BaseException | None:
        """What the run failed with, or was cancelled by."""
        return self._response.error

    def cancel(self, reason: str = "the run was cancelled") -> bool:
        """Ask the run to end, wherever it is; False if it is over. Await it for its end."""
        if self._response.end is not None:
            return False
        self._token.cancel(reason)
        if self._driver is not None:
            self._driver.withdraw(self._response, reason)
        return True

    def __await__(self) -> Generator[object, None, RunOutput]:
        return self._output().__await__()

    def __aiter__(self) -> "RunCursor[Event]":
        """Its events. A failed run's error is raised after the last one; a cancelled run just
        ends."""
        return RunCursor(self, EventCursor)

    def text_stream(self) -> "RunCursor[str]":
        """The pieces of the text of all its replies; the end is as for its events."""
        return RunCursor(self, TextCursor)

    async def _output(self) -> RunOutput:
        """What it came to.

        Raises:
            TurnError: It failed, or was cancelled (`TurnCancelledError`).
            SidetaskError: It could not begin: an unknown agent or model, a blank input.
        """
        end = await self.ended()
        await self.settled.wait()
        if end.error is not None:
            raise end.error
        assert self._response.turn_id is not None
        return RunOutput(
            text=end.text,
            output=end.output,
            finish_reason=end.finish_reason,
            steps=end.steps,
            usage=end.usage,
            run_id=self.run_id,
            turn_id=self._response.turn_id,
            conversation_id=self.conversation_id,
        )

    # -- for whoever carries it out --------------------------------------------------------

    @property
    def token(self) -> CancelToken:
        return self._token

    async def response(self) -> ChatResponse:
        """Its turn, once there is a request for it."""
        await self.built.wait()
        return self._response

    async def ended(self) -> TurnEnd:
        """How it ended, when it has."""
        response = await self.response()
        while (end := response.end) is None:
            await response.more()
        return end

    def build(self, order: RunOrder, conversation_id: ConversationId) -> None:
        """There is a request."""
        self._response.order = order
        self._response.budget = order.budget
        self._response.conversation_id = conversation_id
        self.built.set()

    def enter(self, driver: Driver, message: UserMessage) -> None:
        """Queue its turn."""
        self._driver = driver
        driver.ask(message, self._response)

    def end(self, error: BaseException) -> None:
        """It ends before its turn could begin."""
        is_stop = isinstance(error, TurnCancelledError)
        self._response.finish(TurnEnd("cancelled" if is_stop else "failed", error=error))
        self.built.set()
        self.settled.set()

    def stand_for(self, first: "RunHandle") -> None:
        """Be another run from now on."""
        self._response, self._driver = first._response, first._driver  # noqa: SLF001
        self._token, self.settled = first._token, first.settled  # noqa: SLF001
        self.built.set()


T_co = TypeVar("T_co", covariant=True)


class RunCursor(Generic[T_co]):
    """One reader's place in a run."""

    __slots__ = ("_cursor", "_make", "_run")

    def __init__(self, run: RunHandle, make: Callable[[ChatResponse], AsyncIterator[T_co]]) -> None:
        self._run = run
        self._make = make
        self._cursor: AsyncIterator[T_co] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T_co:
        if self._cursor is None:
            self._cursor = self._make(await self._run.response())
        return await anext(self._cursor)
