"""Carrying a turn out: decisions come from `core.turns`, this does what they say.

The order in each step: results that are ready and steering messages join the history at the
safe point; the model is called; its reply is committed; its calls run as tasks; their answers
are committed in the order of the calls. Whatever goes wrong, the turn ends with exactly one
terminal event and a history in which every call has its answer.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import field
from functools import partial
from typing import Literal, assert_never

from sidetask.agents.calls import StepCalls
from sidetask.agents.compacting import Compacting
from sidetask.agents.conversation import Conversation
from sidetask.agents.gated import GatedReader
from sidetask.agents.guards.doom import DoomWatch
from sidetask.agents.guards.room import Room
from sidetask.agents.guards.spending import Spending, metered
from sidetask.agents.output import output_of
from sidetask.agents.reply import NEWS, Draft
from sidetask.agents.turn_log import Surroundings, TurnLog, current_turn
from sidetask.core.budget import Budget, ambient_meter
from sidetask.core.errors import (
    ContextWindowExceededError,
    ConversationTakenError,
    StepLimitError,
    TurnCancelledError,
)
from sidetask.core.events import (
    ContextBuilt,
    ModelStarted,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunStarted,
    UsageRecorded,
)
from sidetask.core.ids import RunId, TaskId, TurnId, value
from sidetask.core.messages import (
    AssistantMessage,
    Notification,
    NotificationMessage,
    UserMessage,
    user_message,
)
from sidetask.core.turns import BEGUN, Answered, Replied, RunOrder, Turn, decide
from sidetask.core.usage import NO_USAGE, Usage
from sidetask.models.base import Model, ModelRequest, RateGates
from sidetask.tasks.aio.spawn import run_to_end
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.tasks.values import LoopUpdates, Resolution, TurnUpdate

CLEANUP = 5.0
"""Seconds that closing a turn may take which did not reach its end."""

_ASKED_FOR_CALLS = Replied(calls=True)
_ANSWERED = Replied()
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
        "_around",
        "_calls",
        "_conversation",
        "_doom",
        "_draft",
        "_finish_reason",
        "_if_cancelled",
        "_log",
        "_meter",
        "_order",
        "_output",
        "_reader",
        "_said",
        "_spending",
        "_token",
        "_turn",
        "_usage",
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
        self._around = around
        self._conversation = conversation
        self._meter = metered(budget, conversation.meter)
        self._spending = Spending(self._meter, token) if self._meter is not None else None
        self._doom: DoomWatch | None = None
        self._token = token
        self._order = order
        self._log = TurnLog(around, conversation, turn_id, order and order.run_id)
        self._reader = GatedReader(self._log, token, around.quota)
        self._output = output_of(conversation.toolset.output)
        self._turn = Turn(conversation.config.max_steps)
        self._draft: Draft | None = None
        self._calls: StepCalls | None = None
        self._said: AssistantMessage | None = None
        """The last reply, whole or partial."""
        self._finish_reason = ""
        self._usage = NO_USAGE
        self.end: TurnEnd | None = None
        """Set with the terminal event."""
        self._if_cancelled = if_cancelled

    @property
    def run_id(self) -> RunId:
        return self._log.run_id

    def cut_reply(self) -> None:
        """A result came that interrupts: end the reply that is streaming, if one is."""
        if self._draft is not None and self._draft.scope is not None:
            self._draft.scope.cut(NEWS)

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
        self._reader.background = self._conversation.aside or cause != "user"
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
        conversation = self._conversation
        if conversation.hooks is not None:
            await conversation.hooks.turn_begins(message, self._token)
        if conversation.room is not None:
            conversation.room.begin_turn(len(conversation.history))
        if message is not None:
            if updates := self._results():  # they were there before the user spoke
                await self._deliver(updates)
            await self._log.commit(message)
        if heard:
            await asyncio.sleep(0)
        self._turn, command = decide(self._turn, BEGUN)
        while True:
            match command:
                case "call_model":
                    event = await self._call_model(self._turn.step)
                case "run_calls":
                    event = await self._run_calls()
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
        reason = await hooks.may_stop(self._text)
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

    # -- a step ------------------------------------------------------------------------------

    async def _safe_point(self) -> None:
        """Before each model call: what came meanwhile joins the history."""
        if self._token.is_cancelled:
            raise TurnCancelledError(self._token.reason)
        if updates := self._results():
            await self._deliver(updates)
        conversation = self._conversation
        if conversation.steering:
            self._doom = None  # what the user says is a reason to call again
        while conversation.steering:
            await self._log.commit(conversation.steering[0])
            conversation.steering = conversation.steering[1:]

    def _results(self) -> LoopUpdates | None:
        """What came to nobody's turn; None: nothing."""
        updates = self._log.manager.take_pending_loop_updates(self._conversation.id)
        return updates if updates.items else None

    async def _deliver(self, updates: LoopUpdates) -> None:
        message = NotificationMessage(tuple([_notification(item) for item in updates.items]))
        await self._log.commit(message, ack=updates.ids)

    async def _call_model(self, step: int) -> Replied:
        room = self._conversation.room
        governor = self._conversation.governor
        if governor is not None:
            await governor.ready(self._token)
        await self._safe_point()
        if room is not None and room.is_full(self._around.outbox.now):
            await self._make_room(room)
        try:
            draft = await self._read(step)
        except ContextWindowExceededError:
            begun = self._draft is not None and self._draft.has_begun
            if room is None or begun or not await self._make_room(room):
                raise
            draft = await self._read(step)
        await self._take(draft)
        self._record(draft)
        if room is not None:
            room.measured(draft.usage)
        if self._calls is not None:
            return _ASKED_FOR_CALLS
        news = draft.cut_by == NEWS or bool(self._conversation.steering)
        if self._output.owed:
            return await self._ask_for_output(news)
        return Replied(news=True) if news else _ANSWERED

    async def _make_room(self, room: Room) -> bool:
        self._draft = None
        compacting = Compacting(
            self._around,
            self._log,
            self._token,
            room,
            reader=self._reader,
            spending=self._spending,
            record=self._pay,
        )
        return await compacting.make_room()

    async def _read(self, step: int) -> Draft:
        conversation = self._conversation
        if self._spending is not None:
            self._spending.begin_step()
        self._log.fact(ContextBuilt, step=step, messages=len(conversation.context.messages))
        self._log.fact(ModelStarted, step=step, model=conversation.model.name)
        self._draft = draft = Draft(conversation.call_ids, self._log.live)
        # What comes while the key is parked is heard, however long that takes.
        request = partial(_request, conversation, self._order, step, self._reader.quota)
        await self._reader.read(draft, conversation.model, request, waited=self._safe_point)
        return draft

    async def _take(self, draft: Draft) -> None:
        """The reply, whole or partial, becomes part of the history."""
        message = draft.message()
        self._said = message
        if message is not None:
            await self._log.commit(message)
            if draft.calls:
                self._calls = StepCalls(draft.calls, self._log, self._token, self._output)
        self._draft = None

    async def _ask_for_output(self, news: bool) -> Replied:
        if not news:
            problem = self._output.take(self._text)
            if problem is None:
                return _ANSWERED
            await self._log.commit(self._output.remind(problem))
        return Replied(owed=True)

    async def _run_calls(self) -> Answered:
        calls = self._calls
        assert calls is not None
        if self._doom is None:
            self._doom = DoomWatch(self._conversation.toolset.tools)
        await calls.run(self._doom, self._spending)
        self._calls = None
        return Answered(final=calls.handed_in, news=bool(self._conversation.steering))

    @property
    def _text(self) -> str:
        return "" if self._said is None else self._said.text

    def _record(self, draft: Draft) -> None:
        self._finish_reason = draft.reason
        self._pay(draft, self._conversation.model, self._turn.step)

    def _pay(self, draft: Draft, model: Model, step: int | None = None) -> Usage:
        """Count what a model call consumed; without a step it was none of the turn's replies."""
        usage = draft.usage
        if model.price is not None and not usage.usd:
            usage = usage + Usage(usd=model.price.of(usage))
        self._usage = self._usage + usage
        self._conversation.usage = self._conversation.usage + usage
        if self._spending is not None:
            self._spending.spend(usage, model)
        self._log.fact(
            UsageRecorded, usage=usage, model=model.name, finish_reason=draft.reason, step=step
        )
        return usage

    # -- the end -----------------------------------------------------------------------------

    async def _close(self) -> asyncio.CancelledError | None:
        """Make the history valid after a turn that did not reach its end, even while the asyncio
        task is being cancelled; returns a cancellation that came meanwhile."""
        updates = self._log.manager.on_turn_interrupted(self._conversation.id, self._log.turn_id)
        try:
            await run_to_end(self._commit_rest(updates), within=CLEANUP)
        except asyncio.CancelledError as late:
            return late
        except ConversationTakenError:
            pass  # it is the other process's to close
        except Exception:  # noqa: BLE001 - the one boundary: it ends, whatever the store says
            _log.exception("closing %s of %s", self._log.turn_id, self._conversation.id)
        return None

    async def _commit_rest(self, updates: Iterable[TurnUpdate]) -> None:
        draft = self._draft
        if draft is not None:
            try:
                await self._take(draft)
            finally:
                if draft.finished is not None:  # it was paid for, whatever became of it
                    self._record(draft)
        if self._calls is not None:
            await self._calls.close(updates)

    def _tell_end(self, error: BaseException | None) -> TurnEnd:
        if self._spending is not None:
            self._spending.stop()
            if isinstance(error, TurnCancelledError):
                error = self._spending.exceeded or error
        text = self._text
        match error:
            case None:
                status = "completed"
                self._log.fact(
                    RunCompleted,
                    text=text,
                    steps=self._turn.step,
                    usage=self._usage,
                    finish_reason=self._finish_reason,
                )
            case asyncio.CancelledError() | TurnCancelledError():
                status = "cancelled"
                error = TurnCancelledError(self._token.reason)
                self._log.fact(RunCancelled, reason=error.reason)
            case _:
                status = "failed"
                self._log.fact(RunFailed, error=str(error), error_type=type(error).__name__)
        self._conversation.last_usage = self._usage
        if self._output.given:
            self._conversation.last_output = self._output.value
        self.end = TurnEnd(
            status,
            text,
            self._output.value if self._output.given else text,
            self._usage,
            self._turn.step,
            error,
            self._finish_reason,
        )
        return self.end


def _notification(resolution: Resolution) -> Notification:
    return Notification(
        resolution.task_id,
        resolution.call_ids,
        resolution.name,
        str(resolution.status),
        resolution.content,
        resolution.attachments,
    )


def _request(
    conversation: Conversation, order: RunOrder | None, step: int, gates: RateGates
) -> ModelRequest:
    config = conversation.config
    settings = config.settings
    if order is not None and order.settings is not None and step == 1:
        settings = {**settings, **order.settings}
    return ModelRequest(
        instructions=config.instructions,
        messages=conversation.context.messages,
        tools=conversation.toolset.schemas,
        settings=settings,
        tail="" if conversation.governor is None else conversation.governor.tail(),
        gates=gates,
    )
