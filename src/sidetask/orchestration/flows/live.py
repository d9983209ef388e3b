"""A flow at work in one conversation.

It moves when something it depends on does: a key that a guard looks at, or the end of a call.
Nobody has to ask, and no turn has to run. All of it is in the event loop's thread, and in no step
of it is anything awaited, but for what is invoked.

A digression is whatever is not of the active steps: an answer to another question, a call of an
ambient tool, a whole turn about something else. It changes nothing: the steps stay active, and
the next request says again what is to be done.
"""

import asyncio
import logging
import re
from functools import partial

from sidetask.agents.governor import Seat
from sidetask.core.events import Event, TaskEnded, TaskQueued, TaskSucceeded
from sidetask.core.messages import ToolCall
from sidetask.orchestration.flows.admission import Admission, listed
from sidetask.orchestration.flows.checking import tracked
from sidetask.orchestration.flows.entering import Entrance
from sidetask.orchestration.flows.moves import next_moves
from sidetask.orchestration.flows.plan import Plan, Step
from sidetask.orchestration.flows.record import Record
from sidetask.orchestration.guards.keeping import FLOWS
from sidetask.state.provenance import Change
from sidetask.state.state import StateView
from sidetask.state.watch import Condition, When
from sidetask.tasks.aio.sleepers import Sleepers, sleep_among, wake_all
from sidetask.tasks.aio.spawn import wait_done
from sidetask.tasks.aio.tokens import CancelToken

_FORGED = re.compile(r"<(?=\s*/?\s*flow)", re.IGNORECASE)
"""What a value that a posture is filled with could pass off as the end of it."""

_log = logging.getLogger(__name__)


class LiveFlow:
    """Governs one conversation by a plan."""

    def __init__(self, plan: Plan, seat: Seat) -> None:
        self._plan = plan
        self._seat = seat
        self._view = _private(plan, seat.state) if seat.is_guest else seat.state
        self._record = Record(plan, self._view)
        self._tools = [name for name, tool in seat.tools.items() if not tool.policy.control]
        looks_after = seat.tools.keys() - set(self._tools)
        self._admission = Admission(plan, self._record, self._view, ambient=looks_after)
        self._decide = partial(next_moves, plan, self._record, self._admission.holds)
        self._entrance = Entrance(seat, self._admission.holds)
        self._tracked = tracked(plan)
        self._entering: dict[str, asyncio.Task[None]] = {}
        self._sleepers: Sleepers = []
        self._moving = self._moved = self._closed = False
        self._untap = seat.events.tap(self._hear)
        self._whens = [self._listen(key) for key in self._keys()]
        for step in self._record.active():
            self._take_up(step)
        self._passes = 4 * (len(plan.steps) + len(plan.constraints) + 1)
        self.move()

    # -- governing -------------------------------------------------------------------------

    def check(self, call: ToolCall) -> str | None:
        """Why the call is refused, with what is missing and what may be called now."""
        self.move()
        problem = self._admission.problem(call.name)
        if problem is None:
            return None
        if self._plan.mode == "observe":
            self._record.observe(call, problem)
            return None
        return f"`{call.name}` was not called: {problem}. Allowed now: {listed(self.allowed())}."

    def allowed(self) -> list[str]:
        """The tools that may be called now, besides those that look after other tasks: these
        may always, unless a step denies them."""
        problems = self._admission.problems(self._tools)
        return [name for name, problem in problems.items() if problem is None]

    async def ready(self, token: CancelToken) -> None:
        """Wait for what is invoked at the beginning of steps and is to be waited for."""
        self.move()
        if not self._entering:
            return
        token.listen(self._wake)
        try:
            while self._entering and not token.is_cancelled:
                await sleep_among(self._sleepers)
        finally:
            token.unlisten(self._wake)

    def tail(self) -> str:
        """The postures of the active steps, and which tools may be called, if not all may."""
        self.move()
        active = self._record.active()
        if not active:
            return ""
        lines = [f'<flow name="{self._plan.name}" from="the application, not the user">']
        lines += [f"Step `{step.name}`. {self._told(step)}".rstrip() for step in active]
        if self._plan.mode == "enforce":
            lines += self._told_of_tools(active)
        return "\n".join([*lines, "</flow>"])

    def _told_of_tools(self, active: list[Step]) -> list[str]:
        """Which may be called, if not all may, and what the steps' own ones wait for."""
        problems = self._admission.problems(self._tools)
        allowed = [tool for tool, problem in problems.items() if problem is None]
        if len(allowed) == len(problems):
            return []
        own = dict.fromkeys(tool for step in active for tool in step.allow or ())
        held = [f"Not `{tool}`: {problems[tool]}." for tool in own if problems.get(tool)]
        return [f"Tools that may be called now: {listed(allowed)}.", *held]

    async def close(self) -> None:
        """Stop moving. What is being invoked is cancelled; after a restart it is invoked again."""
        self._closed = True
        self._untap()
        for when in self._whens:
            when.cancel()
        entering = list(self._entering.values())
        for task in entering:
            task.cancel()
        for task in entering:
            await wait_done(task)
        await self._entrance.close()
        self._wake()

    # -- moving ----------------------------------------------------------------------------

    def move(self) -> None:
        """Go as far as can be gone now."""
        if self._closed:
            return
        if self._moving:  # through a write of our own
            self._moved = True
            return
        self._moving = True
        try:
            for _ in range(self._passes):  # more, only a guard can need that writes what it reads
                if not self._move_once() and not self._moved:
                    break
                self._moved = False
        finally:
            self._moving = False

    def _move_once(self) -> bool:
        stages, lifted = self._decide()
        if not stages and not lifted:
            return False
        self._record.move(stages, lifted)
        for step in self._plan.steps:
            if stages.get(step.name) == "entering":
                self._enter(step)
        return True

    # -- entering --------------------------------------------------------------------------

    def _enter(self, step: Step, *, again: bool = False) -> None:
        task = self._entering[step.name] = self._entrance.enter(step, again=again)
        task.add_done_callback(lambda task: self._has_entered(step, task))

    def _has_entered(self, step: Step, task: asyncio.Task[None]) -> None:
        del self._entering[step.name]
        if not task.cancelled() and not self._closed:
            if self._record.stage(step.name) == "entering":
                self._record.move({step.name: "active"}, {})
            self.move()
        self._wake()

    def _take_up(self, step: Step) -> None:
        """A restart found this step begun: what it invoked and has not ended is invoked again."""
        begun = self._record.stage(step.name) == "active"
        if step.on_enter or not begun:
            self._enter(step, again=begun)

    # -- hearing ---------------------------------------------------------------------------

    def _keys(self) -> set[str]:
        """The keys whose changes may move the flow; "" alone stands for all."""
        facts = [fact for guard in self._plan.guards() for fact in guard.facts()]
        keys = {fact.watched(self._plan.name) for fact in facts} - {None}
        return {""} if "" in keys else {key for key in keys if key is not None}

    def _listen(self, key: str) -> When:
        return self._view.when(Condition(key, lambda _: True), self._on_change)

    def _on_change(self, _: Change) -> None:
        self.move()

    def _hear(self, event: Event) -> None:
        """The model's own calls of the tools that matter, which are those of a turn."""
        if not isinstance(event, TaskQueued | TaskEnded) or event.name not in self._tracked:
            return
        if event.turn_id is None:  # a tool called it, or the host
            return
        if isinstance(event, TaskQueued):
            self._record.begun(event.name, event.task_id)
        else:
            well = isinstance(event, TaskSucceeded)
            self._record.ended(event.name, event.task_id, well=well)

    def _wake(self) -> None:
        wake_all(self._sleepers)

    def _told(self, step: Step) -> str:
        try:
            return _FORGED.sub("&lt;", step.told(self._view))
        except Exception:  # noqa: BLE001 - the one boundary: a function of the host's
            _log.exception("the posture of the step %r of %r failed", step.name, self._plan.name)
            return ""


def _private(plan: Plan, state: StateView) -> StateView:
    """A view of somebody else's state in which this flow is at its beginning, and which nobody
    else sees: an agent that is invoked twice goes twice through its flow."""
    view = state.fork()
    view.update({}, delete=view.keys(f"{FLOWS}{plan.name}:"))
    return view
