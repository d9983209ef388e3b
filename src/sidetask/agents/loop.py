"""Carrying a turn out: decisions come from `core.turns`, this does what they say.

The order in each step: results that are ready and steering messages join the history at the
safe point; the model is called; its reply is committed; its calls run as tasks; their answers
are committed in the order of the calls. Whatever goes wrong, the turn ends with exactly one
terminal event and a history in which every call has its answer.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from sidetask.agents.conversation import Conversation
from sidetask.agents.reply import NEWS, Reply, ReplyReader
from sidetask.core.errors import (
    DuplicateTaskError,
    InvalidInputError,
    ManagerClosedError,
    OutputError,
    StepLimitError,
    TooManyTasksError,
    TurnCancelledError,
)
from sidetask.core.events import (
    AssistantMessageCommitted,
    ContextBuilt,
    Event,
    ModelStarted,
    NotificationsCommitted,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunStarted,
    ToolMessageCommitted,
    UsageRecorded,
    UserMessageCommitted,
)
from sidetask.core.ids import CallId, RunId, TaskId, TurnId
from sidetask.core.messages import (
    Message,
    Notification,
    NotificationMessage,
    ToolCall,
    ToolMessage,
    ToolResult,
    UserMessage,
    user_message,
)
from sidetask.core.routing import TaskKind
from sidetask.core.turns import (
    Answered,
    AwaitAnswers,
    Begun,
    CallModel,
    EndTurn,
    GiveUp,
    Replied,
    StartCalls,
    Turn,
    decide,
)
from sidetask.core.usage import Usage
from sidetask.models.base import ModelRequest
from sidetask.stores.base import Store
from sidetask.tasks.aio.outbox import Outbox
from sidetask.tasks.aio.spawn import run_to_end
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.tasks.manager import TaskManager
from sidetask.tasks.values import (
    Detached,
    Pending,
    Ready,
    Resolution,
    Resolved,
    TaskLaunch,
    TurnCancelled,
    TurnNews,
    TurnSettled,
)

CLEANUP = 5.0
"""Seconds that closing a cancelled turn may take."""
REMINDERS = 2
"""How often a model that ends its turn without the output is asked for it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What turns need of the runtime."""

    manager: TaskManager
    store: Store
    outbox: Outbox


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """How a turn ended."""

    status: Literal["completed", "failed", "cancelled"]
    text: str
    usage: Usage
    steps: int
    output: object = None
    error: BaseException | None = None


class TurnRun:
    """One turn of a conversation, from its input to its terminal event."""

    def __init__(
        self, around: Surroundings, conversation: Conversation, turn_id: TurnId, token: CancelToken
    ) -> None:
        self._around = around
        self._conversation = conversation
        self._turn_id = turn_id
        self._run_id = RunId(f"run:{turn_id}")
        self._token = token
        self._reader = ReplyReader(around.outbox, conversation.id, turn_id, self._run_id)
        self._reply: Reply | None = None
        self._calls: Sequence[ToolCall] = ()
        self._answers: dict[CallId, ToolResult] = {}
        self._acks: list[TaskId] = []
        self._usage = Usage()
        self._turn = Turn(conversation.config.max_steps)
        self._text = ""
        self._output: object = None
        self._has_output = False
        self._reminders = 0

    @property
    def run_id(self) -> RunId:
        return self._run_id

    def cut_reply(self) -> None:
        """A result came that interrupts: end the reply that is streaming, if one is."""
        if self._reply is not None and self._reply.scope is not None:
            self._reply.scope.cut(NEWS)

    async def run(
        self, message: UserMessage | None, *, cause: str, task_ids: tuple[TaskId, ...] = ()
    ) -> TurnEnd:
        """Carry the turn out. Errors are told in the end, not raised.

        Raises:
            asyncio.CancelledError: The asyncio task was cancelled; the turn is closed first.
        """
        self._fact(RunStarted, cause=cause, task_ids=task_ids)
        try:
            await self._drive(message)
        except asyncio.CancelledError:
            self._token.cancel("shut down")
            await run_to_end(self._close(), within=CLEANUP)
            self._fact(RunCancelled, reason=self._token.reason)
            raise
        except (TurnCancelledError, ManagerClosedError) as error:
            await self._close()
            self._fact(RunCancelled, reason=self._token.reason or str(error))
            return self._end("cancelled", error)
        except Exception as error:  # noqa: BLE001 - the one boundary: a turn's fault is its end
            await self._close()
            self._fact(RunFailed, error=str(error), error_type=type(error).__name__)
            return self._end("failed", error)
        self._fact(RunCompleted, text=self._text, steps=self._turn.step, usage=self._usage)
        return self._end("completed", None)

    async def _drive(self, message: UserMessage | None) -> None:
        if message is not None:
            await self._deliver_results()  # they were there before the user spoke
            await self._commit(message, UserMessageCommitted)
        self._turn, command = decide(self._turn, Begun())
        while True:
            match command:
                case CallModel(step):
                    event = await self._call_model(step)
                case StartCalls():
                    await self._start_calls()
                    event = await self._answer_calls()
                case AwaitAnswers():
                    event = await self._answer_calls()
                case GiveUp(max_steps):
                    raise StepLimitError(max_steps)
                case EndTurn():
                    return
                case _:
                    assert_never(command)
            self._turn, command = decide(self._turn, event)

    # -- the model ---------------------------------------------------------------------------

    async def _call_model(self, step: int) -> Replied:
        conversation = self._conversation
        await self._safe_point()
        request = ModelRequest(
            instructions=conversation.config.instructions,
            messages=conversation.history,
            tools=conversation.toolset.schemas,
            settings=conversation.settings,
        )
        self._fact(ContextBuilt, step=step, messages=len(conversation.history))
        model = conversation.model
        self._fact(ModelStarted, step=step, model=model.name)
        self._reply = reply = Reply()
        await self._reader.read(
            reply,
            model,
            request,
            token=self._token,
            patience=conversation.config.model_timeout,
        )
        await self._take_reply(reply)
        self._record(reply.usage)
        return await self._judge(reply)

    async def _take_reply(self, reply: Reply) -> None:
        """The reply, whole or partial, becomes part of the history."""
        self._reply = None
        message = reply.message()
        self._calls = message.calls if message is not None else ()
        self._text = message.text if message is not None else ""
        if message is None:
            return
        await self._commit(message, AssistantMessageCommitted)

    async def _judge(self, reply: Reply) -> Replied:
        calls = tuple([call.id for call in self._calls])
        news = reply.cut_by == NEWS or bool(self._conversation.steering)
        if calls or news or self._conversation.toolset.output is None or self._has_output:
            return Replied(calls, news)
        return await self._ask_for_output()

    async def _ask_for_output(self) -> Replied:
        """The turn would end without its output: perhaps the text is it, else ask."""
        spec = self._conversation.toolset.output
        assert spec is not None
        try:
            self._output = spec.read(self._text)
        except InvalidInputError as error:
            self._reminders += 1
            if self._reminders > REMINDERS:
                raise OutputError(f"no valid output after {REMINDERS} reminders: {error}") from None
            reminder = f"Call {spec.schema.name} with the output of this turn."
            self._conversation.steering.append(user_message(reminder))
            return Replied((), news=True)
        self._has_output = True
        return Replied(())

    async def _safe_point(self) -> None:
        """Before each model call: what came meanwhile joins the history."""
        if self._token.is_cancelled:
            raise TurnCancelledError(self._token.reason)
        await self._deliver_results()
        steering = self._conversation.steering
        while steering:
            await self._commit(steering.pop(0), UserMessageCommitted)

    async def _deliver_results(self) -> None:
        conversation = self._conversation
        updates = self._around.manager.take_pending_loop_updates(conversation.id)
        if updates.items:
            message = NotificationMessage(tuple([_notification(item) for item in updates.items]))
            await self._commit(message, NotificationsCommitted, ack=updates.ids)

    def _record(self, usage: Usage) -> None:
        price = self._conversation.model.price
        if price is not None and not usage.usd:
            usage = usage + Usage(usd=price.of(usage))
        self._usage = self._usage + usage
        self._conversation.usage = self._conversation.usage + usage
        self._fact(UsageRecorded, usage=usage, model=self._conversation.model.name)

    # -- the calls ---------------------------------------------------------------------------

    async def _start_calls(self) -> None:
        for call in self._calls:
            problem = await self._start(call)
            if problem is not None:
                self._answer(call, problem, is_error=True)

    async def _start(self, call: ToolCall) -> str | None:
        """Start a call; returns what the model is told if it cannot be."""
        toolset = self._conversation.toolset
        if toolset.output is not None and call.name == toolset.output.schema.name:
            return self._take_output(call)
        tool = toolset.tools.get(call.name)
        if tool is None:
            known = ", ".join(toolset.tools) or "none"
            return f"There is no tool {call.name!r}. The tools are: {known}."
        launch = TaskLaunch(
            call=call,
            conversation_id=self._conversation.id,
            turn_id=self._turn_id,
            run_id=self._run_id,
            route=tool.route,
            policy=tool.policy,
        )
        try:
            started = await self._around.manager.start_task(launch, cancellation=self._token)
        except (DuplicateTaskError, TooManyTasksError, InvalidInputError) as error:
            return f"Not started: {error}."
        match started:
            case Ready(resolution):
                self._resolve(resolution)
            case Pending(task_id, TaskKind.BACKGROUND):
                self._answer(call, receipt(task_id))
            case Pending():
                pass
            case _:
                assert_never(started)
        return None

    def _take_output(self, call: ToolCall) -> str | None:
        spec = self._conversation.toolset.output
        assert spec is not None
        try:
            self._output = spec.read(call.arguments)
        except InvalidInputError as error:
            return f"The output does not fit: {error}"
        self._has_output = True
        self._answer(call, "Accepted.")
        return None

    async def _answer_calls(self) -> Answered | Replied:
        """Wait until every call is answered, then commit the answers in the calls' order."""
        manager, conversation_id = self._around.manager, self._conversation.id
        while len(self._answers) < len(self._calls):
            news = await manager.wait_for_turn(conversation_id, self._turn_id, self._token)
            self._hear(news)
        answered = tuple([call.id for call in self._calls])
        await self._commit_answers()
        if self._has_output:  # the step that hands in the output is the last one
            return Replied((), news=bool(self._conversation.steering))
        return Answered(answered)

    def _hear(self, news: TurnNews) -> None:
        match news:
            case Resolved(resolution):
                self._resolve(resolution)
            case Detached(task_id, call_ids, name):
                for call_id in call_ids:
                    self._answers[call_id] = ToolResult(call_id, name, receipt(task_id))
            case TurnSettled():
                for call in self._unanswered():
                    self._answer(call, "The call was lost.", is_error=True)
            case TurnCancelled(reason):
                raise TurnCancelledError(reason)
            case _:
                assert_never(news)

    def _resolve(self, resolution: Resolution) -> None:
        self._acks.append(resolution.task_id)
        for call_id in resolution.call_ids:
            self._answers[call_id] = ToolResult(
                call_id,
                resolution.name,
                resolution.content,
                is_error=resolution.is_error,
                attachments=resolution.attachments,
            )

    def _answer(self, call: ToolCall, content: str, *, is_error: bool = False) -> None:
        self._answers[call.id] = ToolResult(call.id, call.name, content, is_error=is_error)

    def _unanswered(self) -> list[ToolCall]:
        return [call for call in self._calls if call.id not in self._answers]

    async def _commit_answers(self) -> None:
        results = tuple([self._answers[call.id] for call in self._calls])
        acks = tuple(self._acks)
        self._calls = ()
        self._answers.clear()
        self._acks.clear()
        await self._commit(ToolMessage(results), ToolMessageCommitted, ack=acks)

    # -- the end -----------------------------------------------------------------------------

    async def _close(self) -> None:
        """Make the history valid after a turn that did not reach its end."""
        updates = self._around.manager.on_turn_interrupted(self._conversation.id, self._turn_id)
        try:
            if self._reply is not None:
                await self._take_reply(self._reply)
            for update in updates:
                self._hear(update)
            if self._calls:
                for call in self._unanswered():
                    self._answer(call, "Not started: the turn had ended.", is_error=True)
                await self._commit_answers()
        except Exception:  # the one boundary: the turn ends, whatever the store says
            _log.exception("closing turn %s of %s", self._turn_id, self._conversation.id)

    def _end(
        self, status: Literal["completed", "failed", "cancelled"], error: BaseException | None
    ) -> TurnEnd:
        self._conversation.last_usage = self._usage
        if self._has_output:
            self._conversation.last_output = self._output
        output = self._output if self._has_output else None
        return TurnEnd(status, self._text, self._usage, self._turn.step, output, error)

    # -- writing -----------------------------------------------------------------------------

    async def _commit(
        self,
        message: Message,
        event: type[
            UserMessageCommitted
            | AssistantMessageCommitted
            | ToolMessageCommitted
            | NotificationsCommitted
        ],
        *,
        ack: tuple[TaskId, ...] = (),
    ) -> None:
        """Write a message, and with it that these results are delivered; then tell."""
        conversation = self._conversation
        await self._around.store.commit_turn(conversation.id, (message,), ack=ack)
        conversation.history.append(message)
        if ack:
            self._around.manager.ack(conversation.id, ack)
        self._fact(event, message=message)

    def _fact(self, event: type[Event], **fields: object) -> None:
        self._around.outbox.fact(
            event, self._conversation.id, turn_id=self._turn_id, run_id=self._run_id, **fields
        )


def receipt(task_id: TaskId) -> str:
    """The answer of a call that goes on beside the conversation.

    It says nothing of how the result will look: a model that knows would write it itself.
    """
    return f"Running in the background as {task_id}. Its result will follow by itself."


def _notification(resolution: Resolution) -> Notification:
    return Notification(
        resolution.task_id,
        resolution.call_ids,
        resolution.name,
        str(resolution.status),
        resolution.content,
        resolution.attachments,
    )
