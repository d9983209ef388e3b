"""The steps of a turn: what came meanwhile joins the history, the model is called, its reply is
committed, its calls run as tasks, and their answers are committed in the order of the calls.
"""

from collections.abc import Iterable

from sidetask.agents.guards.doom import DoomWatch
from sidetask.agents.guards.room import Room
from sidetask.agents.guards.spending import Spending
from sidetask.agents.turn.calls import StepCalls
from sidetask.agents.turn.compacting import Compacting
from sidetask.agents.turn.gated import read_gated
from sidetask.agents.turn.log import Surroundings, TurnLog
from sidetask.agents.turn.output import output_of
from sidetask.agents.turn.reply import NEWS, Draft
from sidetask.core.errors import ContextWindowExceededError, TurnCancelledError
from sidetask.core.events import ContextBuilt, ModelStarted, UsageRecorded
from sidetask.core.messages import AssistantMessage, Notification, NotificationMessage
from sidetask.core.turns import Answered, Replied, RunOrder
from sidetask.core.usage import NO_USAGE, Usage
from sidetask.models.base import Model, ModelRequest
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.tasks.values import LoopUpdates, Resolution, TurnUpdate

_ASKED_FOR_CALLS = Replied(calls=True)
_ANSWERED = Replied()


class Steps:
    """Those of one turn: what it says, asks for, and consumes."""

    __slots__ = (
        "_around",
        "_calls",
        "_conversation",
        "_doom",
        "_draft",
        "_log",
        "_order",
        "_said",
        "_spending",
        "_step",
        "_token",
        "finish_reason",
        "output",
        "usage",
    )

    def __init__(
        self,
        around: Surroundings,
        log: TurnLog,
        token: CancelToken,
        order: RunOrder | None,
        spending: Spending | None,
    ) -> None:
        self._around = around
        self._conversation = log.conversation
        self._log = log
        self._token = token
        self._order = order
        self._spending = spending
        self._step = 0
        self._doom: DoomWatch | None = None
        self._draft: Draft | None = None
        self._calls: StepCalls | None = None
        self._said: AssistantMessage | None = None
        """The last reply, whole or partial."""
        self.finish_reason = ""
        """Of the last reply, in the provider's words."""
        self.usage = NO_USAGE
        self.output = output_of(log.conversation.toolset.output)

    @property
    def text(self) -> str:
        """Of the last reply, whole or partial."""
        return "" if self._said is None else self._said.text

    def cut_reply(self) -> None:
        """A result came that interrupts: end the reply that is streaming, if one is."""
        if self._draft is not None and self._draft.scope is not None:
            self._draft.scope.cut(NEWS)

    # -- what came meanwhile ---------------------------------------------------------------

    async def safe_point(self) -> None:
        """Before each model call: what came meanwhile joins the history.

        Raises:
            TurnCancelledError: The turn was stopped.
        """
        if self._token.is_cancelled:
            raise TurnCancelledError(self._token.reason)
        if updates := self.results():
            await self.deliver(updates)
        conversation = self._conversation
        if conversation.steering:
            self._doom = None  # what the user says is a reason to call again
        while conversation.steering:
            await self._log.commit(conversation.steering[0])
            conversation.steering = conversation.steering[1:]

    def results(self) -> LoopUpdates | None:
        """What came to nobody's turn; None: nothing."""
        updates = self._log.manager.take_pending_loop_updates(self._conversation.id)
        return updates if updates.items else None

    async def deliver(self, updates: LoopUpdates) -> None:
        """It joins the history."""
        message = NotificationMessage(tuple([_notification(item) for item in updates.items]))
        await self._log.commit(message, ack=updates.ids)

    # -- the model -------------------------------------------------------------------------

    async def call_model(self, step: int) -> Replied:
        """Hear what it replies; that is part of the history then.

        Raises:
            TurnCancelledError: The turn was stopped.
            BudgetExceededError: The call would be one too many.
            ModelError: It failed, and what came of its reply is kept for `close`.
        """
        self._step = step
        room, governor = self._conversation.room, self._conversation.governor
        if governor is not None:
            await governor.ready(self._token)
        await self.safe_point()
        if room is not None and room.is_full(self._around.outbox.now):
            await self._make_room(room)
        try:
            draft = await self._read()
        except ContextWindowExceededError:
            begun = self._draft is not None and self._draft.has_begun
            if room is None or begun or not await self._make_room(room):
                raise
            draft = await self._read()
        await self._take(draft)
        self._record(draft)
        if room is not None:
            room.measured(draft.usage)
        if self._calls is not None:
            return _ASKED_FOR_CALLS
        news = draft.cut_by == NEWS or bool(self._conversation.steering)
        if self.output.owed:
            return await self._ask_for_output(news)
        return Replied(news=True) if news else _ANSWERED

    async def _make_room(self, room: Room) -> bool:
        self._draft = None
        compacting = Compacting(
            self._around,
            self._log,
            self._token,
            room,
            spending=self._spending,
            record=self._pay,
        )
        return await compacting.make_room()

    async def _read(self) -> Draft:
        conversation, log, step = self._conversation, self._log, self._step
        if self._spending is not None:
            self._spending.begin_step()
        log.fact(ContextBuilt, step=step, messages=len(conversation.context.messages))
        log.fact(ModelStarted, step=step, model=conversation.model.name)
        self._draft = draft = Draft(conversation.call_ids, log.live)
        # What comes while the key is parked is heard, however long that takes.
        await read_gated(
            draft,
            conversation.model,
            request=self._request,
            log=log,
            token=self._token,
            waited=self.safe_point,
        )
        return draft

    def _request(self) -> ModelRequest:
        conversation, order = self._conversation, self._order
        settings = conversation.config.settings
        if order is not None and order.settings is not None and self._step == 1:
            settings = {**settings, **order.settings}
        return ModelRequest(
            instructions=conversation.config.instructions,
            messages=conversation.context.messages,
            tools=conversation.toolset.schemas,
            settings=settings,
            tail="" if conversation.governor is None else conversation.governor.tail(),
            gates=self._log.quota,
        )

    async def _take(self, draft: Draft) -> None:
        """The reply, whole or partial, becomes part of the history."""
        message = draft.message()
        self._said = message
        if message is not None:
            await self._log.commit(message)
            if draft.calls:
                self._calls = StepCalls(draft.calls, self._log, self._token, self.output)
        self._draft = None

    async def _ask_for_output(self, news: bool) -> Replied:
        if not news:
            problem = self.output.take(self.text)
            if problem is None:
                return _ANSWERED
            await self._log.commit(self.output.remind(problem))
        return Replied(owed=True)

    # -- what it consumes ------------------------------------------------------------------

    def _record(self, draft: Draft) -> None:
        self.finish_reason = draft.reason
        self._pay(draft, self._conversation.model, self._step)

    def _pay(self, draft: Draft, model: Model, step: int | None = None) -> Usage:
        """Count what a model call consumed; without a step it was none of the turn's replies."""
        usage = draft.usage
        if model.price is not None and not usage.usd:
            usage = usage + Usage(usd=model.price.of(usage))
        self.usage = self.usage + usage
        self._conversation.usage = self._conversation.usage + usage
        if self._spending is not None:
            self._spending.spend(usage, model)
        self._log.fact(
            UsageRecorded, usage=usage, model=model.name, finish_reason=draft.reason, step=step
        )
        return usage

    # -- its calls -------------------------------------------------------------------------

    async def run_calls(self) -> Answered:
        """Run what the last reply asked for, until each call has its answer.

        Raises:
            TurnCancelledError, BudgetExceededError, DoomLoopError: As for `StepCalls.run`.
        """
        calls = self._calls
        assert calls is not None
        if self._doom is None:
            self._doom = DoomWatch(self._conversation.toolset.tools)
        await calls.run(self._doom, self._spending)
        self._calls = None
        return Answered(final=calls.handed_in, news=bool(self._conversation.steering))

    # -- the end ---------------------------------------------------------------------------

    async def close(self, updates: Iterable[TurnUpdate]) -> None:
        """The turn does not reach its end: commit what came of a reply, and an answer for each
        call, with these last news of the turn."""
        draft = self._draft
        if draft is not None:
            try:
                await self._take(draft)
            finally:
                if draft.finished is not None:  # it was paid for, whatever became of it
                    self._record(draft)
        if self._calls is not None:
            await self._calls.close(updates)


def _notification(resolution: Resolution) -> Notification:
    return Notification(
        resolution.task_id,
        resolution.call_ids,
        resolution.name,
        str(resolution.status),
        resolution.content,
        resolution.attachments,
    )
