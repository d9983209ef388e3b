"""How many tasks run at once.

A task holds one permit of each cap that concerns it, all or none, so that nothing holds one
permit while it waits for another. It waits in the queue of the first cap that lacks room;
queues are first come, first served. Only roots queue for a conversation's, a tool's and the
manager's cap: a child runs on the permits of the parent that awaits it, so nesting cannot
deadlock. Calls of one step queue among themselves only, which cannot either.

A task that waits for a root that queues for the very permits it holds *lends* them, to one after
the other: it does nothing meanwhile, and would else wait for itself.
"""

from collections import OrderedDict
from collections.abc import Hashable

from sidetask.core.errors.checks import check_count
from sidetask.core.ids import TaskId, value
from sidetask.tasks.values import TaskLaunch


@value(kw_only=True, frozen=True)
class Limits:
    """The caps and bounds of a task manager. None: no limit."""

    step: int = 16
    """Calls of one step that a turn waits for at once."""
    conversation: int = 64
    """Tasks of one conversation at once, detached ones included."""
    total: int | None = None
    """Tasks of the manager at once."""
    queued: int = 100_000
    """Tasks that wait for a permit; a launch beyond is refused."""
    undelivered: int = 1_000
    """Results of one conversation that nobody took; a background launch beyond is refused."""
    finished: int = 1_000
    """Ended tasks that are remembered."""
    finished_age: float = 3_600.0
    """Seconds for which they are remembered at most."""
    approval_age: float | None = None
    """Seconds after which an open approval expires, which denies it."""

    rpm: float | None = None
    """Model calls a minute with one API key, in the whole process."""
    tpm: float | None = None
    """Tokens a minute with one API key, in the whole process."""

    def __post_init__(self) -> None:
        for name in ("step", "conversation", "total", "queued", "undelivered"):
            value = getattr(self, name)
            if value is not None:
                check_count(f"Limits: {name}", value)


class Cap:
    """Room for so many at once, and who waits for it."""

    __slots__ = ("_home", "_key", "limit", "of_step", "used", "waiting")

    def __init__(self, limit: int, home: "dict[Hashable, Cap]", key: Hashable) -> None:
        self.limit = limit
        self.used = 0
        self.waiting: OrderedDict[TaskId, Ticket] | None = None
        self.of_step = False
        """It bounds the calls of one step."""
        self._home = home
        self._key = key

    def drop_if_unused(self) -> None:
        if not self.used and not self.waiting and self._home.get(self._key) is self:
            del self._home[self._key]


class Ticket:
    """One task's claim to its permits: queued, holding, or neither."""

    __slots__ = (
        "awaited",
        "borrower",
        "caps",
        "holding",
        "id",
        "in_step",
        "launch",
        "lender",
        "nested",
        "queue",
        "weight",
    )

    def __init__(self, task_id: TaskId, launch: TaskLaunch, *, in_step: bool) -> None:
        self.id = task_id
        self.launch = launch
        self.in_step = in_step
        """The turn waits for it, so it counts among the step's calls."""
        self.nested = False
        """A call of the same turn, which counts already, waits for it."""
        self.weight = 1
        """How many of its step's permits it takes; of every other cap one."""
        self.caps: tuple[Cap, ...] = ()
        self.holding = False
        self.queue: Cap | None = None
        self.awaited: tuple[Ticket, ...] = ()
        """What it waits for, and would lend its permits to."""
        self.borrower: Ticket | None = None
        """What has its permits now."""
        self.lender: Ticket | None = None
        """Whose permits these are."""


class Permits:
    """Gives permits, takes them back, and says who may start then."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._caps: dict[Hashable, Cap] = {}
        self.queued = 0
        """How many tickets wait."""

    def acquire(self, ticket: Ticket) -> bool:
        """Take all permits now, or queue; True if the task may start."""
        ticket.caps = self._caps_of(ticket)
        return self._take_or_queue(ticket, None)

    def force(self, ticket: Ticket) -> None:
        """Take the permits even beyond the caps: for work that is going on already."""
        self._leave_queue(ticket)
        ticket.caps = self._caps_of(ticket)
        self._take(ticket)

    def release(self, ticket: Ticket) -> list[TaskId]:
        """Give back the permits, or the place in a queue. Returns who may start."""
        if ticket.borrower is not None:  # they are its own now
            ticket.borrower.lender = None
            ticket.borrower = None
        if ticket.lender is not None:
            return self._return(ticket, ticket.lender)
        caps, ticket.caps = ticket.caps, ()
        if ticket.holding:
            ticket.holding = False
            for cap in caps:
                cap.used -= ticket.weight if cap.of_step else 1
        else:
            self._leave_queue(ticket)
        return self._admit(caps)

    def lend(self, lender: Ticket, awaited: Ticket) -> list[TaskId]:
        """`lender` waits for a task that queues: let that one go on its permits, ahead of the
        queue, if they are what it lacks. Returns who may start."""
        lender.awaited += (awaited,)
        return self._lend(lender)

    def stop_lending(self, lender: Ticket, awaited: Ticket) -> None:
        """It waits no longer. If the other is at work on its permits, both count from now on,
        whatever the caps say."""
        left = list(lender.awaited)
        left.remove(awaited)
        lender.awaited = tuple(left)
        if lender.borrower is awaited:
            lender.borrower = awaited.lender = None
            self.force(lender)

    def _lend(self, lender: Ticket) -> list[TaskId]:
        if not lender.holding or lender.in_step:
            return []
        held = set(lender.caps)
        for ticket in lender.awaited:
            if ticket.queue is not None and held.issuperset(ticket.caps):
                self._leave_queue(ticket)
                self._hand_over(lender, ticket)
                lender.borrower, ticket.lender = ticket, lender
                return [ticket.id]
        return []

    def _return(self, ticket: Ticket, lender: Ticket) -> list[TaskId]:
        """The borrower has ended, or pauses. Returns who has the permits next."""
        self._hand_over(ticket, lender)
        lender.borrower = ticket.lender = None
        return self._lend(lender)

    def _hand_over(self, one: Ticket, other: Ticket) -> None:
        other.caps, one.caps = one.caps, ()
        other.holding, one.holding = True, False

    def used(self, name: str) -> int:
        """How many permits of the cap of this tool or executor are taken."""
        cap = self._caps.get(("tool", name))
        return 0 if cap is None else cap.used

    def leave_step(self, ticket: Ticket) -> list[TaskId]:
        """The turn no longer waits for this task. Returns who may start."""
        if not ticket.in_step:
            return []
        ticket.in_step = False
        if ticket.nested:
            return []
        step, ticket.caps = ticket.caps[:1], ticket.caps[1:]
        if ticket.holding:
            for cap in step:
                cap.used -= ticket.weight
            return self._admit(step)
        if ticket.queue is None:  # it waits for an approval, and for no permit
            return []
        self._leave_queue(ticket)
        started = [ticket.id] if self.acquire(ticket) else []
        return started + self._admit(step)

    def _caps_of(self, ticket: Ticket) -> tuple[Cap, ...]:
        launch, limits = ticket.launch, self._limits
        policy = launch.policy
        if policy.control:
            return ()
        caps: list[Cap] = []
        if ticket.in_step and not ticket.nested:  # first, so that leave_step finds it
            cap = self._cap(("step", launch.conversation_id, launch.turn_id), limits.step)
            cap.of_step = True
            if policy.exclusive:
                ticket.weight = cap.limit
            caps.append(cap)
        if policy.cap is not None and (launch.parent_id is None or launch.executor is not None):
            caps.append(self._cap(("tool", launch.executor or launch.call.name), policy.cap))
        if launch.parent_id is None:
            caps.append(self._cap(launch.conversation_id, limits.conversation))
            if limits.total is not None:
                caps.append(self._cap(None, limits.total))
        return tuple(caps)

    def _cap(self, key: Hashable, limit: int) -> Cap:
        cap = self._caps.get(key)
        if cap is None:
            cap = self._caps[key] = Cap(limit, self._caps, key)
        return cap

    def _take_or_queue(self, ticket: Ticket, head_of: Cap | None) -> bool:
        for cap in ticket.caps:
            weight = ticket.weight if cap.of_step else 1
            is_full = cap.used and cap.used + weight > cap.limit
            if is_full or (cap.waiting and cap is not head_of):
                if cap.waiting is None:
                    cap.waiting = OrderedDict()
                cap.waiting[ticket.id] = ticket
                ticket.queue = cap
                self.queued += 1
                return False
        self._take(ticket)
        return True

    def _take(self, ticket: Ticket) -> None:
        ticket.holding = True
        for cap in ticket.caps:
            cap.used += ticket.weight if cap.of_step else 1

    def _leave_queue(self, ticket: Ticket) -> None:
        if ticket.queue is not None and ticket.queue.waiting is not None:
            del ticket.queue.waiting[ticket.id]
            ticket.queue = None
            self.queued -= 1

    def _admit(self, caps: tuple[Cap, ...]) -> list[TaskId]:
        started: list[TaskId] = []
        for cap in caps:
            while cap.waiting and cap.used < cap.limit:
                head = next(iter(cap.waiting.values()))
                self._leave_queue(head)
                head.caps = self._caps_of(head)  # a cap it saw may have been dropped since
                if self._take_or_queue(head, cap):
                    started.append(head.id)
                elif head.queue is cap:
                    cap.waiting.move_to_end(head.id, last=False)
                    break
            if not cap.used:
                cap.drop_if_unused()
        return started
