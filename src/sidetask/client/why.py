"""What a task waits for, told from the store alone.

| its row           | its job           | told as    | it waits for                               |
|-------------------|-------------------|------------|--------------------------------------------|
| closed            | any               | `Ended`    | nothing; its result perhaps to be taken    |
| awaiting approval | any               | `Asking`   | a person's decision                        |
| queued            | none              | `Held`     | a permit of its home (a cap), or a home    |
| running           | none              | `AtHome`   | its tool, where its conversation is open   |
| open              | queued            | `Queued`   | a worker that has its tool, and room       |
| open              | running           | `Running`  | its tool, on a worker                      |
| open              | cancelling        | `Stopping` | its tool, which has been told to stop      |
| open              | parked            | `Parked`   | a person's `retry`, or `cancel`            |
| open              | ended, cancelled  | `Untold`   | its home, to take what a worker has said   |

Who has its conversation open is told where the store knows it: `Home`. No store knows which API
key a task uses, so of what runs at home all keys are told that are parked. It is read piece by
piece, so a task that moves meanwhile may be told as it was a moment ago.
"""

from enum import StrEnum
from typing import TypeAlias

from sidetask.core.ids import value
from sidetask.stores.members import Member
from sidetask.tasks.stored import Order
from sidetask.tasks.values import Approval, TaskSnapshot


class Standing(StrEnum):
    OPEN = "open"
    NOWHERE = "nowhere"
    """A worker that knows its agent takes it up, or whoever resumes it."""
    STUCK = "stuck"
    """Workers have died of it, and none takes it up any more."""
    BELOW = "below"
    """It is part of another one, and goes on with that."""
    UNKNOWN = "unknown"
    """This store cannot tell, or nobody has told it."""


@value(kw_only=True)
class Worker:
    """A living worker."""

    member: Member
    running: int
    """Jobs it has now, with those whose tool waits for a person and takes no room."""

    @property
    def is_full(self) -> bool:
        return self.running >= self.member.concurrency


@value(kw_only=True)
class ClosedGate:
    """An API key whose calls are held back."""

    key: str
    """Its digest."""
    opens_at: float
    """Seconds since the epoch."""


@value(kw_only=True)
class Home:
    """Who has a conversation open."""

    member: Member | None = None
    """It lives, and has it open."""
    standing: Standing = Standing.UNKNOWN


@value(kw_only=True)
class Told:
    """What all have. Times are seconds since the epoch."""

    task: TaskSnapshot
    home: Home
    ordered: Order | None = None
    """Somebody wants its end, and the process that has its conversation open has not heard it, or
    there is none."""


@value(kw_only=True)
class Ended(Told):
    """It is over; `task` says how."""

    is_taken: bool
    """Its result is part of the history, or was drained."""


@value(kw_only=True)
class Asking(Told):
    """A person is asked, by all of these."""

    approvals: tuple[Approval, ...]


@value(kw_only=True)
class Held(Told):
    """It has not begun: its home has no permit for it, or is not there."""

    running: int
    """Tasks of its name that run."""
    gates: tuple[ClosedGate, ...]


@value(kw_only=True)
class AtHome(Told):
    """It runs in the process that has its conversation open; if that has died, it goes on as its
    `on_crash` says when the conversation is resumed."""

    gates: tuple[ClosedGate, ...]


@value(kw_only=True)
class Queued(Told):
    """A job in the queue."""

    key: str
    since: float
    place: int
    """Queued jobs that stand before it, of any key."""
    workers: tuple[Worker, ...]
    """Those that live and know its key, draining ones too."""
    others: tuple[str, ...] = ()
    """Ids of those of them that have another release of the tool: they leave it to those that have
    this one, while such a one lives and does not drain."""
    claims: int = 0
    """How many processes have died of it, since the last `retry`."""


@value(kw_only=True)
class Running(Told):
    """A job that somebody carries out."""

    since: float
    claims: int
    owner: str
    """The id of the member that has it."""
    member: Member | None
    """None: it lives no more, and its job is about to be somebody else's."""
    note: str = ""
    """How far it is."""
    questions: tuple[str, ...] = ()
    """What its tool has asked a person, and nobody was asked yet: its conversation is open
    nowhere."""


@value(kw_only=True)
class Stopping(Running):
    """A job whose owner has been told to stop it."""

    reason: str


@value(kw_only=True)
class Parked(Told):
    """A job that nobody touches until somebody says so."""

    error: str
    claims: int


@value(kw_only=True)
class Untold(Told):
    """A worker has ended its job, and its conversation is open nowhere, or is about to hear it."""

    since: float


Why: TypeAlias = Ended | Asking | Held | AtHome | Queued | Running | Stopping | Parked | Untold
