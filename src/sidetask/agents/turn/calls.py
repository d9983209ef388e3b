"""The calls of one step: started in their order, answered in any, committed in theirs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import assert_never

from sidetask.agents.guards.doom import REPEATS, DoomWatch, Loop
from sidetask.agents.guards.spending import Spending
from sidetask.agents.turn.log import TurnLog
from sidetask.agents.turn.output import TurnOutput
from sidetask.core.errors import (
    DuplicateTaskError,
    InvalidInputError,
    ManagerClosedError,
    TooManyTasksError,
    TurnCancelledError,
)
from sidetask.core.events import DoomLoopDetected
from sidetask.core.ids import CallId, TaskId
from sidetask.core.messages import ToolCall, ToolMessage, ToolResult
from sidetask.core.routing import TaskKind
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.tasks.values import (
    Detached,
    Ready,
    Resolution,
    Resolved,
    TaskLaunch,
    TurnCancelled,
    TurnNews,
    TurnSettled,
    TurnUpdate,
)


class StepCalls:
    """Owns what a reply asked for, until each call has its one answer in the history."""

    def __init__(
        self, calls: Sequence[ToolCall], log: TurnLog, token: CancelToken, output: TurnOutput
    ) -> None:
        self._calls = calls
        self._log = log
        self._token = token
        self._output = output
        self._answers: dict[CallId, ToolResult] = {}
        self._acks: tuple[TaskId, ...] = ()
        self.handed_in = False
        """One of them handed in the turn's output."""

    async def run(self, doom: DoomWatch, spending: Spending | None) -> None:
        """Start the calls, wait until each is answered, and commit the answers.

        Raises:
            TurnCancelledError, BudgetExceededError, DoomLoopError: The turn ends; `close` is left
                to do.
        """
        loops = doom.look(self._calls)
        if loops:
            self._warn(loops)
        calls, answers, log = self._calls, self._answers, self._log
        for call in calls:
            if call.id not in answers:
                await self._start(call, spending)
        manager, conversation_id, turn_id = log.manager, log.conversation.id, log.turn_id
        await manager.stored()  # once for all of them
        while len(answers) < len(calls):
            self._hear(await manager.wait_for_turn(conversation_id, turn_id, self._token))
        await log.commit(self._message(), ack=self._acks)

    async def close(self, updates: Iterable[TurnUpdate]) -> None:
        """Commit an answer for each call, whatever has become of it: the turn is ending."""
        for update in updates:
            self._hear(update)
        self._answer_rest("Not answered: the turn ended before it.")
        message, acks = self._message(), self._acks
        try:
            await self._log.commit(message, ack=acks)
        except Exception:  # the one boundary: the history here is valid, whatever the store says
            self._log.keep_unwritten(message, ack=acks)
            raise

    def _warn(self, loops: Mapping[CallId, Loop]) -> None:
        first = next(iter(loops.values()))
        self._log.fact(DoomLoopDetected, call_id=first.call_id, names=first.names, repeats=REPEATS)
        for call in self._calls:
            loop = loops.get(call.id)
            if loop is not None:
                self._answer(call, loop.warning, is_error=True)

    async def _start(self, call: ToolCall, spending: Spending | None) -> None:
        if self._token.is_cancelled:
            raise TurnCancelledError(self._token.reason)
        if self._output.is_handed_in_by(call):
            problem = self._output.take(call.arguments)
            if problem is None:
                self.handed_in = True
                return self._answer(call, "Accepted.")
            return self._answer(call, f"The output does not fit: {problem}", is_error=True)
        log = self._log
        conversation = log.conversation
        tool = conversation.toolset.tools.get(call.name)
        if tool is None:
            known = ", ".join(schema.name for schema in conversation.toolset.schemas) or "none"
            problem = f"There is no tool {call.name!r}. The tools are: {known}."
            return self._answer(call, problem, is_error=True)
        for check in conversation.checks:
            problem = check(call)
            if problem is not None:
                return self._answer(call, problem, is_error=True)
        problem = spending.begin_call() if spending is not None else None
        if problem is not None:
            return self._answer(call, problem, is_error=True)
        launch = TaskLaunch(  # by place: one is made for each call
            call,
            conversation.id,
            log.turn_id,
            log.run_id,
            tool.route,
            tool.policy,
            conversation.parent_id,
        )
        try:
            started = await log.manager.start_task(launch, cancellation=self._token)
        except (DuplicateTaskError, TooManyTasksError, InvalidInputError) as error:
            return self._answer(call, f"Not started: {error}.", is_error=True)
        except ManagerClosedError as error:
            raise TurnCancelledError(str(error)) from None
        if isinstance(started, Ready):
            return self._resolve(started.resolution)
        if started.kind is TaskKind.BACKGROUND:
            return self._answer(call, receipt(started.task_id))
        return None  # its turn waits for it

    def _hear(self, news: TurnNews) -> None:
        match news:
            case Resolved():
                self._resolve(news.resolution)
            case Detached(task_id, call_ids, name):
                for call_id in call_ids:
                    self._answers[call_id] = ToolResult(call_id, name, receipt(task_id))
            case TurnSettled():
                self._answer_rest("The call was lost.")
            case TurnCancelled(reason):
                raise TurnCancelledError(reason)
            case _:
                assert_never(news)

    def _resolve(self, resolution: Resolution) -> None:
        self._acks += (resolution.task_id,)
        for call_id in resolution.call_ids:
            self._answers[call_id] = ToolResult(  # by place: one is made for each call
                call_id,
                resolution.name,
                resolution.content,
                resolution.is_error,
                resolution.attachments,
            )

    def _answer(self, call: ToolCall, content: str, *, is_error: bool = False) -> None:
        self._answers[call.id] = ToolResult(call.id, call.name, content, is_error=is_error)

    def _answer_rest(self, content: str) -> None:
        for call in self._calls:
            if call.id not in self._answers:
                self._answer(call, content, is_error=True)

    def _message(self) -> ToolMessage:
        return ToolMessage(tuple([self._answers[call.id] for call in self._calls]))


def receipt(task_id: TaskId) -> str:
    """The answer of a call that goes on beside the conversation.

    It says nothing of how the result will look: a model that knows would write it itself.
    """
    return f"Running in the background as {task_id}. Its result will follow by itself."
