"""Homes and workers over one store that outlives them all: who dies writes nothing more.

A worker here is a name that claims jobs and ends them as the test says.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, cast

from sidetask.agents.policies.gate import ToolGate
from sidetask.agents.policies.hooks import HookContext, Hooks
from sidetask.agents.tools.tool import AnyTool, tool
from sidetask.agents.tools.toolset import Toolset
from sidetask.core.errors import StoreUnavailableError
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.jsons import JsonObject
from sidetask.core.routing import DEFAULT_POLICY, TaskPolicy
from sidetask.state.spaces import SharedSpaces
from sidetask.state.state import State
from sidetask.stores.base import Record
from sidetask.stores.members import Forsaken, Member, Members, Membership
from sidetask.stores.memory.queue import MemoryQueue
from sidetask.stores.queue import MAX_CLAIMS, NewJob, StoredJob
from sidetask.tasks.context import RunContext
from sidetask.tasks.elsewhere import Placement
from sidetask.tasks.manager import AsyncTaskManager
from sidetask.tasks.parts.runner import Scope
from sidetask.tasks.remote.values import (
    ASKS,
    Ask,
    JobOrder,
    ask_id,
    key_of,
    order_from_json,
    outcome_to_json,
    progress_to_json,
)
from sidetask.tasks.stored import TASKS
from sidetask.tasks.values import Completed, Errored, Progress, Resolution, ToolOutcome
from sidetask.testing import VirtualClock
from tests.stores.homeless import forsaken
from tests.tasks.durable.lives import Disk
from tests.tasks.harness import Bench, C, settle

AGENT = "smith"
ONCE = DEFAULT_POLICY
AGAIN = TaskPolicy(idempotent=True, on_crash="retry")
ASKING = TaskPolicy(on_crash="ask")


class Register(Members):
    """Who lives. One for all processes."""

    def __init__(self) -> None:
        self.alive: dict[str, Member] = {}
        self.dead: list[str] = []
        self.views: list[View] = []
        self.holds: dict[str, Hold] = {}
        self.looks = 0

    async def join(self, member: Member) -> Membership:
        hold = Hold(self, member)
        self.enter(member)
        self.holds[member.id] = hold
        return hold

    async def living(self) -> Sequence[Member]:
        return list(self.alive.values())

    async def forsaken(self, agents: Collection[str], *, limit: int) -> Sequence[Forsaken]:
        self.looks += 1
        return (await forsaken(self.views[0], self.alive, agents))[:limit]

    def enter(self, member: Member) -> None:
        self.alive[member.id] = member
        self.tell()

    def leave(self, id: str) -> None:
        self.alive.pop(id, None)
        self.holds.pop(id, None)
        self.tell()

    def kill(self, id: str) -> None:
        """Its process is gone, and nobody is told of it."""
        if self.alive.pop(id, None) is not None:
            self.dead.append(id)
        self.holds.pop(id, None)

    def tell(self) -> None:
        for view in self.views:
            view.line.hear(None)


class Hold(Membership):
    """A membership."""

    def __init__(self, register: Register, member: Member) -> None:
        self._all = register
        self.member = member
        self.lost = asyncio.Event()

    async def update(self, member: Member) -> None:
        self.member = member
        self._all.enter(member)

    async def leave(self) -> None:
        if self.member.id in self._all.alive:
            await self._all.views[0].line.reap(self.member.id)
            self._all.leave(self.member.id)

    async def reap(self, *, max_claims: int = MAX_CLAIMS) -> Sequence[StoredJob]:
        dead, self._all.dead = self._all.dead, []
        found: list[StoredJob] = []
        for id in dead:
            found += await self._all.views[0].line.reap(id, max_claims=max_claims)
        return found


class Line(MemoryQueue):
    """The queue as one process sees it: hints may be lost, and the dead do nothing."""

    dead = False
    deaf = False
    full = False
    slow: "asyncio.Event | None" = None
    """Holds up claims and cancels."""

    def view(self) -> "Line":
        return copy(self)

    def hear(self, job_id: str | None) -> None:
        if not self.deaf:
            for heard in list(self.heard):
                asyncio.get_running_loop().call_soon(heard, job_id)

    @property
    def heard(self) -> list[Callable[[str | None], None]]:
        mine = self.__dict__.setdefault("_heard", [])
        return cast("list[Callable[[str | None], None]]", mine)

    def listen(self, heard: Callable[[str | None], None]) -> Callable[[], None]:
        def unless_deaf(job_id: str | None) -> None:
            if not self.deaf:
                heard(job_id)

        self.heard.append(heard)
        end = super().listen(unless_deaf)

        def stop() -> None:
            if heard in self.heard:
                self.heard.remove(heard)
            end()

        return stop

    async def _may(self) -> None:
        if self.slow is not None:
            await self.slow.wait()
        if self.dead:
            await asyncio.Event().wait()
        if self.full:
            raise StoreUnavailableError("the database is away", "wait")

    def enqueue(self, job: NewJob) -> None:
        if self.full:
            raise StoreUnavailableError("the database is away", "wait")
        if not self.dead:
            super().enqueue(job)

    async def claim(
        self, owner: str, keys: Collection[str], *, limit: int, job_id: str | None = None
    ) -> Sequence[StoredJob]:
        await self._may()
        return await super().claim(owner, keys, limit=limit, job_id=job_id)

    async def finish(self, job_id: str, owner: str, result: JsonObject) -> bool:
        await self._may()
        return await super().finish(job_id, owner, result)

    async def cancel(
        self, job_id: str, reason: str = "", *, had_by: Collection[str] | None = None
    ) -> StoredJob | None:
        await self._may()
        return await super().cancel(job_id, reason, had_by=had_by)

    async def hand_back(self, owner: str, job_ids: Collection[str] | None = None) -> int:
        await self._may()
        return await super().hand_back(owner, job_ids)


class View(Disk):
    """The store as one process sees it."""

    line: Line
    register: Register

    @staticmethod
    def new() -> "View":
        made = View()
        made.line = Line()
        made.register = Register()
        made.register.views.append(made)
        return made._with_own(made.line)

    def _with_own(self, line: Line) -> "View":
        self.line = line
        self.queue = line
        line.home_of = self._records.home_of
        self.members = self.register
        self.__dict__["ears"] = []
        return self

    def view(self) -> "View":
        made = copy(self)._with_own(self.line.view())
        made.line.__dict__.pop("_heard", None)
        self.register.views.append(made)
        return made

    def listen(self, heard: Callable[[ConversationId | None], None]) -> Callable[[], None]:
        ears = cast("list[Any]", self.__dict__["ears"])
        ears.append(heard)
        return lambda: ears.remove(heard) if heard in ears else None

    def put(self, record: Record[Any]) -> None:
        super().put(record)
        self._tell(record.conversation_id)

    async def swap(self, record: Record[Any], *, expect: str | None) -> Record[Any] | None:
        stands = await super().swap(record, expect=expect)
        self._tell(record.conversation_id)
        return stands

    def _tell(self, conversation_id: ConversationId) -> None:
        """As a database does, those who listen in other processes."""
        for view in self.register.views:
            if view is self or view.line.deaf:
                continue
            for heard in list(cast("list[Any]", view.__dict__["ears"])):
                asyncio.get_running_loop().call_soon(heard, conversation_id)

    def die(self) -> None:
        self.dead = self.line.dead = self.line.deaf = True


class HomeBench(Bench):
    """A process that has conversation `c` open."""

    def __init__(self, clock: VirtualClock, view: View, placement: Placement) -> None:
        super().__init__(clock, store=view)
        self.view = view
        self.manager = AsyncTaskManager(
            outbox=self.outbox, store=view, placement=placement, limits=None
        )
        self.handle = self.manager.handle()

    @property
    def member(self) -> str:
        found = cast(Any, self.manager.kept).elsewhere._presence.id
        assert isinstance(found, str)
        return found


class Town:
    """All processes, and what their tools did."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.store = View.new()
        self.runs: list[str] = []
        """What ran at home."""
        self.hooks: list[Hooks] = []
        self.gate = asyncio.Event()
        """Holds up tools that run at home."""
        self.gate.set()
        self.homes: list[HomeBench] = []

    # -- homes -----------------------------------------------------------------------------------

    async def home(
        self, *, placement: Placement = "auto", tools: Sequence[AnyTool] | None = None
    ) -> HomeBench:
        """A process that takes conversation `c` up, in place of the one before."""
        bench = HomeBench(self.clock, self.store.view(), placement)
        self.homes.append(bench)
        kept = bench.manager.kept
        assert kept is not None
        assert kept.elsewhere is not None
        await kept.look_out()
        toolset = Toolset(self.tools if tools is None else tools)
        sending = kept.elsewhere.sending(
            toolset.executors, toolset.portable, agent=AGENT, user="u42"
        )
        state = State(SharedSpaces(), user=None, now=self.clock.now)
        ctx = HookContext(conversation_id=C, agent=AGENT, user=None, state=state)
        gate = ToolGate((), self.hooks, ctx)
        bench.manager.open_conversation(
            C, Scope(gate.before(sending.executors), None, state, sending.take)
        )
        await kept.revive(C)
        kept.attend(C, lambda text: None, lambda begun: begun())
        return bench

    async def crash(self, home: HomeBench) -> None:
        """A home is killed."""
        if not home.view.dead:
            id = cast(Any, home.manager.kept).elsewhere._presence.id
            home.view.die()
            if id is not None:
                self.store.register.kill(id)
            await home.handle.close(0)
            await settle()

    @property
    def tools(self) -> Sequence[AnyTool]:
        town = self

        @tool
        async def work(n: int = 0) -> str:
            """Work."""
            town.runs.append(f"work {n}")
            await town.gate.wait()
            return f"worked {n} at home"

        @tool(approval="ask")
        async def careful(n: int = 0) -> str:
            """Ask first."""
            town.runs.append(f"careful {n}")
            return "careful at home"

        @tool(portable=False)
        async def local(n: int = 0) -> str:
            """Stay."""
            town.runs.append(f"local {n}")
            return "local"

        @tool
        async def parent(ctx: RunContext[None]) -> str:
            """Call another."""
            return str(await ctx.spawn("work", n=7))

        @tool
        async def steps(ctx: RunContext[None]) -> str:
            """Work in steps."""

            async def step(n: int) -> int:
                town.runs.append(f"step {n}")
                return n

            return str([await ctx.step(f"s{n}", step, n) for n in range(3)])

        return (work, careful, local, parent, steps)

    # -- workers -----------------------------------------------------------------------------------

    def worker(self, id: str = "w1", *names: str, draining: bool = False) -> "Hand":
        keys = [key_of(AGENT, name) for name in names or ("work", "careful", "parent")]
        member = Member(
            id=id,
            role="worker",
            host="here",
            pid=1,
            started_at=0.0,
            version="1",
            tools=dict.fromkeys(keys, "f"),
            draining=draining,
        )
        self.store.register.enter(member)
        return Hand(self, member)

    async def claimed(
        self, policy: TaskPolicy = ONCE
    ) -> "tuple[Hand, HomeBench, TaskId, StoredJob]":
        """A worker that is at work on a call, and its home."""
        worker, home = self.worker(), await self.home()
        task_id = home.start_in_background("work", policy=policy)
        await settle()
        return worker, home, task_id, await worker.claim()

    # -- looking -----------------------------------------------------------------------------------

    async def job(self, job_id: str) -> StoredJob:
        found = await self.store.line.get(job_id)
        assert found is not None
        return found

    async def jobs(self) -> Sequence[StoredJob]:
        return await self.store.line.find()

    async def row(self, task_id: TaskId) -> Any:
        found = await self.store.get(TASKS, C, task_id)
        assert found is not None
        return found.value


class Hand:
    """A worker that does as the test says."""

    def __init__(self, town: Town, member: Member) -> None:
        self._town = town
        self.member = member
        self._view = town.store.view()

    @property
    def id(self) -> str:
        return self.member.id

    async def claim(self) -> StoredJob:
        [job] = await self._view.line.claim(self.id, list(self.member.tools), limit=1)
        await settle()
        return job

    def order(self, job: StoredJob) -> JobOrder:
        return order_from_json(job.data)

    async def finish(self, job: StoredJob, outcome: ToolOutcome | None = None) -> bool:
        told = outcome or Completed("done", f"done by {self.id}")
        is_over = await self._view.line.finish(job.id, self.id, outcome_to_json(told))
        await settle()
        return is_over

    async def fail(self, job: StoredJob) -> bool:
        return await self.finish(job, Errored("it broke"))

    async def note(self, job: StoredJob, fraction: float, note: str) -> None:
        self._view.line.note(job.id, self.id, progress_to_json(Progress(fraction, note)))
        await settle()

    async def park(self, job: StoredJob) -> None:
        assert await self._view.line.park(job.id, self.id, "three workers died of it")
        await settle()

    async def ask(self, job: StoredJob, number: int = 1, reason: str = "go on?") -> None:
        self._view.put(self._asked(job, number, reason))
        await settle()

    async def stop_asking(self, job: StoredJob, number: int = 1, reason: str = "go on?") -> None:
        self._view.put(replace(self._asked(job, number, reason), status="withdrawn"))
        await settle()

    async def answer(self, job: StoredJob, number: int = 1) -> Ask:
        found = await self._view.get(ASKS, job.conversation_id, ask_id(job.id, number))
        assert found is not None
        assert found.status == (found.value.answer or "open")
        return found.value

    async def die(self) -> None:
        """Its process is killed: the members notice when they look."""
        self._town.store.register.kill(self.id)
        await settle()

    async def leave(self) -> None:
        await self._view.line.hand_back(self.id)
        self._town.store.register.leave(self.id)
        await settle()

    def _asked(self, job: StoredJob, number: int, reason: str) -> Record[Ask]:
        return Record(
            kind=ASKS,
            conversation_id=job.conversation_id,
            id=ask_id(job.id, number),
            status="open",
            at=0.0,
            value=Ask(job_id=job.id, reason=reason, details={"n": number}),
        )


def result_of(home: HomeBench, task_id: TaskId) -> Resolution:
    """The one result of a task that waits to be taken."""
    [found] = [each for each in home.pending() if each.task_id == task_id]
    return found
