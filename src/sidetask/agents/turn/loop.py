"""Carrying a turn out: decisions come from `core.turns`, `Steps` does what they say.

Whatever goes wrong, the turn ends with exactly one terminal event and a history in which every
call has its answer.
"""

import asyncio
import logging
from dataclasses import field
from typing import Literal, assert_never

from sidetask.agents.conversation import Conversation
from sidetask.agents.guards.spending import Spending, metered
from sidetask.agents.turn.log import Surroundings, TurnLog, current_turn
from sidetask.agents.turn.steps import Steps
from sidetask.core.budget import Budget, ambient_meter
from sidetask.core.errors import ConversationTakenError, StepLimitError, TurnCancelledError
from sidetask.core.events import RunCancelled, RunCompleted, RunFailed, RunStarted
from sidetask.core.ids import RunId, TaskId, TurnId, value
from sidetask.core.messages import UserMessage, user_message
from sidetask.core.turns import BEGUN, Replied, RunOrder, Turn, decide
from sidetask.core.usage import Usage
from sidetask.tasks.aio.spawn import run_to_end
from sidetask.tasks.aio.tokens import CancelToken

CLEANUP = 5.0
"""Seconds that closing a turn may take which did not reach its end."""

_log = logging.getLogger(__name__)


@value
class TurnEnd:
    """How a turn ended."""

    status: Literal["completed", "failed", "cancelled"]
    text: str = ""
    """Of the last reply, whole or partial."""
    output: object = ""
    """The structured output if there is one, else the text."""
    usage: Usage = field(default_factory=Usage)
    steps: int = 0
    error: BaseException | None = None
    finish_reason: str = ""
    """Of the last reply, in the provider's words."""


class TurnRun:
    """One turn of a conversation, from its input to its terminal event."""

    __slots__ = (
        "_conversation",
        "_if_cancelled",
        "_log",
        "_meter",
        "_order",
        "_spending",
        "_steps",
        "_token",
        "_turn",
        "end",
    )

    def __init__(  # noqa: PLR0913 - wired in one place
        self,
        around: Surroundings,
        conversation: Conversation,
        turn_id: TurnId,
        token: CancelToken,
        order: RunOrder | None = None,
        *,
        budget: Budget | None = None,
        if_cancelled: str = "shut down",
    ) -> None:
        """`if_cancelled`: why the asyncio task that carries it out is cancelled, if it is."""
        self._conversation = conversation
        self._meter = metered(budget, conversation.meter)
        self._spending = Spending(self._meter, token) if self._meter is not None else None
        self._token = token
        self._order = order
        self._log = log = TurnLog(around, conversation, turn_id, order and order.run_id)
        self._steps = Steps(around, log, token, order, self._spending)
        self._turn = Turn(conversation.config.max_steps)
        self._if_cancelled = if_cancelled
        self.end: TurnEnd | None = None
        """Set with the terminal event."""

    @property
    def run_id(self) -> RunId:
        return self._log.run_id

    def cut_reply(self) -> None:
        """A result came that interrupts: end the reply that is streaming, if one is."""
        self._steps.cut_reply()

    async def run(
        self,
        message: UserMessage | None,
        *,
        cause: str,
        task_ids: tuple[TaskId, ...] = (),
        heard: bool = True,
    ) -> TurnEnd:
        """Carry the turn out. Errors are told in the end, not raised. Where the turn is `heard`,
        those who wait for its begin get to see it before the model is called.

        Raises:
            asyncio.CancelledError: The asyncio task was cancelled. The turn is closed first, and
                `end` is set.
        """
        self._log.background = self._conversation.aside or cause != "user"
        self._tell_start(cause, task_ids)
        if self._spending is not None:
            self._spending.start()
        meter = self._meter  # what its tools open spends here too
        outer = None if ambient_meter.get() is meter else ambient_meter.set(meter)
        around = current_turn.get()
        current_turn.set(self._log)
        try:
            await self._drive(message, heard)
        except asyncio.CancelledError as error:
            self._token.cancel(self._if_cancelled)
            await self._close()
            self._tell_end(error)
            raise
        except Exception as error:  # noqa: BLE001 - the one boundary: a turn's fault is its end
            is_stop = isinstance(error, TurnCancelledError)
            self._token.cancel(error.reason if is_stop else "the turn failed")
            late = await self._close()
            end = self._tell_end(error)
            if late is not None:
                raise late from None
            return end
        finally:
            if outer is not None:
                ambient_meter.reset(outer)
            current_turn.set(around)
        return self._tell_end(None)

    async def _drive(self, message: UserMessage | None, heard: bool) -> None:
        conversation, steps = self._conversation, self._steps
        if conversation.hooks is not None:
            await conversation.hooks.turn_begins(message, self._token)
        if conversation.room is not None:
            conversation.room.begin_turn(len(conversation.history))
        if message is not None:
            if updates := steps.results():  # they were there before the user spoke
                await steps.deliver(updates)
            await self._log.commit(message)
        if heard:
            await asyncio.sleep(0)
        self._turn, command = decide(self._turn, BEGUN)
        while True:
            match command:
                case "call_model":
                    event = await steps.call_model(self._turn.step)
                case "run_calls":
                    event = await steps.run_calls()
                case "give_up":
                    raise StepLimitError(self._turn.max_steps)
                case "end_turn":
                    reason = await self._reason_to_go_on() if conversation.hooks else None
                    if reason is None:
                        return
                    await self._log.commit(user_message(reason))
                    event = Replied(news=True)
                case _:
                    assert_never(command)
            self._turn, command = decide(self._turn, event)

    async def _reason_to_go_on(self) -> str | None:
        hooks = self._conversation.hooks
        is_last = self._turn.step >= self._turn.max_steps
        if hooks is None or is_last or (self._meter and self._meter.over(steps=1)):
            return None
        reason = await hooks.may_stop(self._steps.text)
        if self._token.is_cancelled:
            raise TurnCancelledError(self._token.reason)
        return reason

    def _tell_start(self, cause: str, task_ids: tuple[TaskId, ...]) -> None:
        order = self._order
        self._log.fact(
            RunStarted,
            cause=cause,
            task_ids=task_ids,
            client_request_id=None if order is None else order.client_request_id,
            metadata=None if order is None else order.metadata,
            parent_conversation_id=self._conversation.parent_conversation_id,
        )

    # -- the end -----------------------------------------------------------------------------

    async def _close(self) -> asyncio.CancelledError | None:
        """Make the history valid after a turn that did not reach its end, even while the asyncio
        task is being cancelled; returns a cancellation that came meanwhile."""
        updates = self._log.manager.on_turn_interrupted(self._conversation.id, self._log.turn_id)
        try:
            await run_to_end(self._steps.close(updates), within=CLEANUP)
        except asyncio.CancelledError as late:
            return late
        except ConversationTakenError:
            pass  # it is the other process's to close
        except Exception:  # noqa: BLE001 - the one boundary: it ends, whatever the store says
            _log.exception("closing %s of %s", self._log.turn_id, self._conversation.id)
        return None

    def _tell_end(self, error: BaseException | None) -> TurnEnd:
        if self._spending is not None:
            self._spending.stop()
            if isinstance(error, TurnCancelledError):
                error = self._spending.exceeded or error
        steps, output = self._steps, self._steps.output
        text = steps.text
        match error:
            case None:
                status = "completed"
                self._log.fact(
                    RunCompleted,
                    text=text,
                    steps=self._turn.step,
                    usage=steps.usage,
                    finish_reason=steps.finish_reason,
                )
            case asyncio.CancelledError() | TurnCancelledError():
                status = "cancelled"
                error = TurnCancelledError(self._token.reason)
                self._log.fact(RunCancelled, reason=error.reason)
            case _:
                status = "failed"
                self._log.fact(RunFailed, error=str(error), error_type=type(error).__name__)
        self._conversation.last_usage = steps.usage
        if output.given:
            self._conversation.last_output = output.value
        self.end = TurnEnd(
            status,
            text,
            output.value if output.given else text,
            steps.usage,
            self._turn.step,
            error,
            steps.finish_reason,
        )
        return self.end
