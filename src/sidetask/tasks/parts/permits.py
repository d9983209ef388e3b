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
from collections.abc import Hashable, Sequence

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

    __slots__ = ("key", "limit", "of_step", "used", "waiting")

    def __init__(self, key: Hashable, limit: int, *, of_step: bool = False) -> None:
        self.key = key
        self.limit = limit
        self.of_step = of_step
        """It bounds the calls of one step."""
        self.used = 0
        self.waiting: OrderedDict[TaskId, Ticket] | None = None


class Ticket:
    """One task's claim to its permits: queued, holding, or neither."""

    __slots__ = (
        "caps",
        "holding",
        "id",
        "in_step",
        "launch",
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


class Permits:
    """Gives permits, takes them back, and says who may start then."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._caps: dict[Hashable, Cap] = {}
        """Those that somebody uses or waits for, by their keys."""
        self.queued = 0
        """How many tickets wait."""
        self._awaited: dict[Ticket, tuple[Ticket, ...]] = {}
        """What each lender waits for, and lends its permits to."""
        self._borrowers: dict[Ticket, Ticket] = {}
        """Who has the permits of a lender now."""
        self._lenders: dict[Ticket, Ticket] = {}
        """Whose permits a borrower has."""

    def acquire(self, ticket: Ticket, *, head_of: Cap | None = None) -> bool:
        """Take all permits now, or queue; True if the task may start. `head_of`: it is the next
        in the queue of this one."""
        ticket.caps = caps = self._caps_of(ticket)
        for cap in caps:
            weight = ticket.weight if cap.of_step else 1
            if cap.used + weight > cap.limit or (cap.waiting and cap is not head_of):
                self._queue(ticket, cap)
                return False
        self._take(ticket)
        return True

    def force(self, ticket: Ticket) -> None:
        """Take the permits even beyond the caps: for work that is going on already."""
        self._leave_queue(ticket)
        ticket.caps = self._caps_of(ticket)
        self._take(ticket)

    def release(self, ticket: Ticket) -> Sequence[TaskId]:
        """Give back the permits, or the place in a queue. Returns who may start."""
        if self._borrowers:  # hardly anybody ever lends
            if ticket in self._borrowers:  # they are the borrower's own now
                self._end_loan(ticket)
            if ticket in self._lenders:
                return self._return(ticket)
        caps, ticket.caps = ticket.caps, ()
        if not ticket.holding:
            self._leave_queue(ticket)
            return self._admit(caps)
        ticket.holding = False
        for cap in caps:
            cap.used -= ticket.weight if cap.of_step else 1
            if not cap.used and not cap.waiting:
                del self._caps[cap.key]
        return self._admit(caps) if self.queued else ()

    def lend(self, lender: Ticket, awaited: Ticket) -> list[TaskId]:
        """`lender` waits for a task that queues: let that one go on its permits, ahead of the
        queue, if they are what it lacks. Returns who may start."""
        self._awaited[lender] = (*self._awaited.get(lender, ()), awaited)
        return self._lend(lender)

    def stop_lending(self, lender: Ticket, awaited: Ticket) -> None:
        """It waits no longer. If the other is at work on its permits, both count from now on,
        whatever the caps say."""
        left = list(self._awaited[lender])
        left.remove(awaited)
        if left:
            self._awaited[lender] = tuple(left)
        else:
            del self._awaited[lender]
        if self._borrowers.get(lender) is awaited:
            self._end_loan(lender)
            self.force(lender)

    def has_lent(self, ticket: Ticket) -> bool:
        """Whether another one has its permits now."""
        return ticket in self._borrowers

    def _lend(self, lender: Ticket) -> list[TaskId]:
        if not lender.holding or lender.in_step:
            return []
        held = set(lender.caps)
        for ticket in self._awaited.get(lender, ()):
            if ticket.queue is not None and held.issuperset(ticket.caps):
                self._leave_queue(ticket)
                self._hand_over(lender, ticket)
                self._borrowers[lender], self._lenders[ticket] = ticket, lender
                return [ticket.id]
        return []

    def _return(self, borrower: Ticket) -> list[TaskId]:
        """The borrower has ended, or pauses. Returns who has the permits next."""
        lender = self._lenders[borrower]
        self._hand_over(borrower, lender)
        self._end_loan(lender)
        return self._lend(lender)

    def _end_loan(self, lender: Ticket) -> None:
        del self._lenders[self._borrowers.pop(lender)]

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
            key = "step", launch.conversation_id, launch.turn_id
            cap = self._caps.get(key) or self._open(Cap(key, limits.step, of_step=True))
            if policy.exclusive:
                ticket.weight = cap.limit
            caps.append(cap)
        if policy.cap is not None and (launch.parent_id is None or launch.executor is not None):
            key = "tool", launch.executor or launch.call.name
            caps.append(self._caps.get(key) or self._open(Cap(key, policy.cap)))
        if launch.parent_id is None:
            key = launch.conversation_id
            caps.append(self._caps.get(key) or self._open(Cap(key, limits.conversation)))
            if limits.total is not None:
                caps.append(self._caps.get(None) or self._open(Cap(None, limits.total)))
        return tuple(caps)

    def _open(self, cap: Cap) -> Cap:
        self._caps[cap.key] = cap
        return cap

    def _queue(self, ticket: Ticket, cap: Cap) -> None:
        if cap.waiting is None:
            cap.waiting = OrderedDict()
        cap.waiting[ticket.id] = ticket
        ticket.queue = cap
        self.queued += 1

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
                if self.acquire(head, head_of=cap):  # a cap it saw may have been dropped since
                    started.append(head.id)
                elif head.queue is cap:
                    cap.waiting.move_to_end(head.id, last=False)
                    break
            if not cap.used and not cap.waiting and self._caps.get(cap.key) is cap:
                del self._caps[cap.key]
        return started
