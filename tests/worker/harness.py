"""Workers on the test's clock, over a queue in memory; a member dies when a test says so."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sidetask import Agent, Runtime
from sidetask.agents.tools.tool import AnyTool
from sidetask.core.errors import ConfigurationError, StoreUnavailableError
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.messages import ToolCall
from sidetask.core.routing import TaskPolicy
from sidetask.stores.base import Record, StateEntry
from sidetask.stores.members import Forsaken, Member, Members, Membership
from sidetask.stores.memory import MemoryStore
from sidetask.stores.memory.queue import MemoryQueue
from sidetask.stores.queue import MAX_CLAIMS, NewJob, StoredJob
from sidetask.tasks.remote.values import (
    ASKS,
    Ask,
    JobOrder,
    job_id_of,
    key_of,
    order_to_json,
    outcome_from_json,
)
from sidetask.tasks.values import ToolOutcome
from sidetask.testing import ScriptedModel, VirtualClock
from sidetask.worker import Worker

C = ConversationId("c")
LIMIT = 10_000.0
"""Virtual seconds that a test waits for anything at most."""


async def settle(seconds: float = 1e-6) -> None:
    """Let everything run that can run now: virtual time moves only when nothing else does."""
    await asyncio.sleep(seconds)


class FakeMembers(Members):
    """Who lives is who was not killed."""

    def __init__(self, store: "SharedStore") -> None:
        self.store = store
        self.rows: dict[str, FakeMembership] = {}

    async def join(self, member: Member) -> Membership:
        if member.id in self.rows:
            raise ConfigurationError("a member of this id lives already")
        joined = self.rows[member.id] = FakeMembership(self, member)
        return joined

    async def living(self) -> Sequence[Member]:
        return [each.member for each in self.rows.values() if each.holds]

    async def forsaken(self, agents: Collection[str], *, limit: int) -> Sequence[Forsaken]:
        return ()


class FakeMembership(Membership):
    def __init__(self, members: FakeMembers, member: Member) -> None:
        self._members = members
        self.member = member
        self.lost = asyncio.Event()
        self.holds = True

    def die(self) -> None:
        """The lock can be taken. What the process still does comes too late."""
        self.holds = False
        self._members.store.dead.add(self.member.id)

    def break_off(self) -> None:
        self.die()
        self.lost.set()

    async def update(self, member: Member) -> None:
        self.member = member

    async def leave(self) -> None:
        await self._members.store.queue.reap(self.member.id)
        self._members.rows.pop(self.member.id, None)

    async def reap(self, *, max_claims: int = MAX_CLAIMS) -> Sequence[StoredJob]:
        found: list[StoredJob] = []
        if not self.holds:
            return found
        for row in [each for each in self._members.rows.values() if not each.holds]:
            del self._members.rows[row.member.id]
            found += await self._members.store.queue.reap(row.member.id, max_claims=max_claims)
        return found


class LastingQueue(MemoryQueue):
    """A queue in which the dead claim nothing."""

    def __init__(self, dead: set[str]) -> None:
        super().__init__()
        self._dead = dead
        self.before_answer: Callable[[Sequence[StoredJob]], Awaitable[None]] | None = None
        """What happens when jobs are claimed, and their claimer does not know it yet: once."""

    def deafen(self) -> None:
        """From now on nobody hears of anything."""
        self._jobs.ears.clear()

    async def claim(
        self, owner: str, keys: Collection[str], *, limit: int, job_id: str | None = None
    ) -> Sequence[StoredJob]:
        if owner in self._dead:
            return []
        found = await super().claim(owner, keys, limit=limit, job_id=job_id)
        if found and self.before_answer is not None:
            answer, self.before_answer = self.before_answer, None
            await answer(found)
        return found


class SharedStore(MemoryStore):
    """A store in memory that several workers share."""

    def __init__(self) -> None:
        super().__init__()
        self.dead: set[str] = set()
        self.away = False
        """It takes no writes to the state."""
        self.queue = self.lasting = LastingQueue(self.dead)
        self.ears: list[Callable[[ConversationId | None], None]] = []
        self.members = FakeMembers(self)  # pyright: ignore[reportIncompatibleVariableOverride, reportAttributeAccessIssue] - it can tell who lives

    def save_state(
        self,
        conversation_id: ConversationId,
        entries: Sequence[StateEntry],
        *,
        user: str | None = None,
    ) -> None:
        if self.away:
            raise StoreUnavailableError("it is away", "wait")
        super().save_state(conversation_id, entries, user=user)

    def listen(self, heard: Callable[[ConversationId | None], None]) -> Callable[[], None]:
        self.ears.append(heard)
        return lambda: self.ears.remove(heard)


class Place:
    """A store, and workers on it."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.store = SharedStore()
        self.workers: list[tuple[Worker, asyncio.Task[None]]] = []

    def runtime(self, *tools: AnyTool | Callable[..., Any], **settings: Any) -> Runtime:
        agent = Agent(ScriptedModel(), name="clerk", tools=tools, **settings.pop("agent", {}))
        return Runtime(store=self.store, agents=[agent], clock=self.clock, **settings)

    async def worker(
        self,
        *tools: AnyTool | Callable[..., Any],
        runtime: dict[str, Any] | None = None,
        **how: Any,
    ) -> Worker:
        """One that has joined."""
        worker = Worker(self.runtime(*tools, **(runtime or {})), **how)
        joined = asyncio.Event()
        task = asyncio.create_task(worker.run(joined.set))
        self.workers.append((worker, task))
        waiting = asyncio.create_task(joined.wait())
        await asyncio.wait({task, waiting}, return_when="FIRST_COMPLETED")
        waiting.cancel()
        return worker

    def membership(self, worker: Worker) -> FakeMembership:
        assert worker.member is not None
        return self.store.members.rows[worker.member.id]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]

    async def ended(self, worker: Worker) -> None:
        for each, task in self.workers:
            if each is worker:
                await asyncio.wait({task}, timeout=LIMIT)
                task.result()

    def enqueue(
        self,
        tool: AnyTool,
        arguments: dict[str, Any] | None = None,
        *,
        task: str = "task-1",
        attempt: int = 1,
        conversation: ConversationId = C,
        on_crash: str = "fail",
        fingerprint: str | None = None,
        policy: TaskPolicy | None = None,
        **order: Any,
    ) -> str:
        """Put a job of a tool of the clerk's into the queue; returns its id."""
        job_id = job_id_of(TaskId(task), attempt)
        call = ToolCall.make(tool.name, arguments or {}, id=f"call-of-{task}")
        made = JobOrder(
            call=call, agent="clerk", attempt=attempt, policy=policy or tool.policy, **order
        )
        self.put(
            NewJob(
                id=job_id,
                conversation_id=conversation,
                task_id=TaskId(task),
                key=key_of("clerk", tool.name),
                fingerprint=fingerprint or tool.fingerprint,
                on_crash=on_crash,
                at=self.clock.now(),
                data=order_to_json(made),
            )
        )
        return job_id

    def heard(self, conversation_id: ConversationId) -> None:
        """Another process has written to the conversation."""
        for each in tuple(self.store.ears):
            each(conversation_id)

    def put(self, job: NewJob) -> None:
        self.store.queue.enqueue(job)

    async def job(self, job_id: str) -> StoredJob:
        found = await self.store.queue.get(job_id)
        assert found is not None
        return found

    async def over(self, job_id: str) -> StoredJob:
        """The job, when nobody works on it or is to."""
        async with asyncio.timeout(LIMIT):
            while (found := await self.job(job_id)).status not in ("ended", "cancelled", "parked"):
                await settle(0.01)
        return found

    async def outcome(self, job_id: str) -> ToolOutcome | None:
        job = await self.over(job_id)
        assert job.result is not None, job
        return outcome_from_json(job.result)

    async def ask(self, job_id: str, number: int = 1) -> Record[Ask]:
        async with asyncio.timeout(LIMIT):
            while (found := await self.store.get(ASKS, C, f"{job_id}:{number}")) is None:
                await settle(0.01)
        return found


@asynccontextmanager
async def sharing(clock: VirtualClock) -> AsyncGenerator[Place]:
    """A store for workers. At the end they drain, and have left nothing alive."""
    before = asyncio.all_tasks()
    place = Place(clock)
    yield place
    for worker, task in place.workers:
        worker.drain()
        worker.drain()
        done, _ = await asyncio.wait({task}, timeout=LIMIT)
        assert done
        task.result()
    assert asyncio.all_tasks() <= before
