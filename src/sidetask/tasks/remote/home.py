"""The executors of a conversation, some of which send their calls out.

Below the gate: what policies, hooks and a person have to say is said before anything is sent.
Whether a call is sent is decided once, when its task begins to run, and stands in the task's row
from then on: `take`. The job goes to the queue in one transaction with that row, unless a hook
waits in between.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, TypeAlias

from sidetask.core.errors import CodecError, ConversationTakenError, StoreError
from sidetask.core.ids import value
from sidetask.core.jsons import JsonObject
from sidetask.core.messages import ToolCall
from sidetask.core.routing import OnCrash
from sidetask.stores.queue import LOST, NewJob
from sidetask.tasks.context import RunContext
from sidetask.tasks.elsewhere import Elsewhere, Portable, Sending, ToolExecutor
from sidetask.tasks.parts.body import TaskBody, current_body
from sidetask.tasks.parts.records import Past, TaskRecord
from sidetask.tasks.remote.calls import RemoteCall
from sidetask.tasks.remote.post import Post
from sidetask.tasks.remote.values import (
    ASKS,
    OF_A_CHILD,
    Granted,
    JobOrder,
    ask_id,
    job_id_of,
    key_of,
    order_to_json,
    outcome_to_json,
)
from sidetask.tasks.values import Errored, ToolOutcome

Context: TypeAlias = RunContext[Any]

_log = logging.getLogger(__name__)


class Home(Post, Elsewhere):
    """Has background calls carried out by other processes."""

    def sending(
        self,
        executors: Mapping[str, ToolExecutor],
        portable: Mapping[str, Portable],
        *,
        agent: str,
        user: str | None,
    ) -> "Sender":
        return Sender(self, executors, portable, agent=agent, user=user)

    async def granted(self, record: TaskRecord, job_id: str) -> Counter[str]:
        """What the body of a job has asked and a person has allowed, by its reason. Not what its
        children have: they ask again.

        Raises:
            StoreError: It cannot be read.
        """
        found, key, number = Counter[str](), record.launch.conversation_id, 1
        while (asked := await self._store.get(ASKS, key, ask_id(job_id, number))) is not None:
            if asked.status == "approved" and not asked.value.details.keys() >= OF_A_CHILD:
                found[asked.value.reason] += 1
            number += 1
        return found


class Sender(Sending):
    """The executors of one conversation."""

    def __init__(
        self,
        home: Home,
        executors: Mapping[str, ToolExecutor],
        portable: Mapping[str, Portable],
        *,
        agent: str,
        user: str | None,
    ) -> None:
        self.home = home
        self.agent = agent
        self.user = user
        self._portable = portable
        self.executors: Mapping[str, ToolExecutor] = {
            name: _Sent(self, executor, portable.get(name)) for name, executor in executors.items()
        }

    def take(self, record: TaskRecord) -> bool:
        """Whether a task that begins to run is sent out, or is out already. From now on its
        executor sees to it that a restart would know that it has begun."""
        if record.remote is not None:
            return True
        launch = record.launch
        if (
            record.foreground
            or record.detached
            or launch.parent_id is not None
            or launch.executor is not None
            or launch.task_id is not None  # it may be used again; a job's id is not
            or record.call.name not in self._portable
            or not self.home.sends(key_of(self.agent, record.call.name))
        ):
            return False
        if record.past is not None:
            record.past.admitted = None
        record.remote = job_id_of(record.id, record.attempt)
        self.home.show(record)
        return True


@value
class _Sent:
    """The executor of one tool."""

    sending: Sender
    executor: ToolExecutor
    tool: Portable | None
    """None: it is not sent out any more; what an earlier process has sent is followed."""

    def __call__(
        self, call: ToolCall, ctx: Context, *, exactly: bool = False
    ) -> Coroutine[Any, Any, ToolOutcome]:
        body = current_body.get()
        if body is None or body.record.remote is None or body.record.id != ctx.task_id:
            return self.executor(call, ctx, exactly=exactly)
        return self._send(body, call, ctx, exactly)

    async def _send(
        self, body: TaskBody, call: ToolCall, ctx: Context, exactly: bool
    ) -> ToolOutcome:
        record, home = body.record, self.sending.home
        assert record.remote is not None
        remote = RemoteCall(home, body, record.remote, key_of(self.sending.agent, call.name))
        if body.admitted is None and self.tool is not None:
            held = self.tool.held(call, ctx, exactly=exactly)
            if held is not None:
                return held
            try:
                order = self._order(record, call, ctx, exactly)
                home.queue.enqueue(self._job(remote, order, self.tool.fingerprint))
            except (StoreError, CodecError):
                if home.placement == "workers":
                    raise
                _log.warning("%s is not sent out, and runs here", record.id, exc_info=True)
                return await self._instead(body, call, ctx, exactly)
        outcome = await remote.outcome()
        if outcome is not None:
            return outcome
        work = partial(self._go_on, body, remote.job_id, call, ctx, exactly)
        return await self._taken_back(remote, work)

    async def _instead(
        self, body: TaskBody, call: ToolCall, ctx: Context, exactly: bool
    ) -> ToolOutcome:
        """Nothing has been sent: it is this process's own call."""
        record, home = body.record, self.sending.home
        record.remote = None
        home.show(record)
        if record.launch.policy.on_crash is not OnCrash.RETRY:
            await home.safe()
        return await self.executor(call, ctx, exactly=exactly)

    async def _go_on(
        self, body: TaskBody, job_id: str, call: ToolCall, ctx: Context, exactly: bool
    ) -> ToolOutcome:
        """Carry out what was begun elsewhere: with its steps and those of its children, and
        without asking what was answered there."""
        record = body.record
        body.job.replay()
        past = record.past = record.past or Past()
        try:
            past.granted += await self.sending.home.granted(record, job_id)
        except StoreError:
            _log.warning("%s may ask again what was answered", record.id, exc_info=True)
        return await self.executor(call, ctx, exactly=exactly)

    async def _taken_back(
        self, remote: RemoteCall, work: Callable[[], Awaitable[ToolOutcome]]
    ) -> ToolOutcome:
        """Run a job that was claimed back, and end it."""
        home, job = self.sending.home, remote.mine
        assert job is not None
        try:
            outcome = await work()
            if home.is_taken(remote.conversation_id):
                raise ConversationTakenError(remote.conversation_id)
        except BaseException as error:  # the one boundary: however it ends, the job ends with it
            if not home.lets_go(remote.conversation_id):
                text = f"{type(error).__name__}: {error}"
                home.finish_soon(job, outcome_to_json(Errored(text, type(error).__name__)))
            elif remote.record.launch.policy.on_crash is OnCrash.RETRY:
                home.give_back_soon(job)
            else:
                home.finish_soon(job, LOST)
            raise
        await home.finish(job, _written(outcome))
        return outcome

    def _order(self, record: TaskRecord, call: ToolCall, ctx: Context, exactly: bool) -> JobOrder:
        return JobOrder(
            call=call,
            agent=self.sending.agent,
            attempt=record.attempt,
            exactly=exactly,
            turn_id=ctx.turn_id,
            run_id=ctx.run_id,
            user=self.sending.user,
            policy=record.launch.policy,
            approved=tuple([Granted(*each) for each in sorted(record.approved or ())]),
            metadata=record.launch.metadata,
        )

    def _job(self, remote: RemoteCall, order: JobOrder, fingerprint: str) -> NewJob:
        return NewJob(
            id=remote.job_id,
            conversation_id=remote.conversation_id,
            task_id=remote.record.id,
            key=remote.key,
            fingerprint=fingerprint,
            on_crash=str(order.policy.on_crash),
            at=self.sending.home.now(),
            data=order_to_json(order),
        )


def _written(outcome: ToolOutcome) -> JsonObject:
    try:
        return outcome_to_json(outcome)
    except CodecError as error:
        return outcome_to_json(Errored(str(error), "CodecError"))
