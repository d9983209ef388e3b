"""The seam of the members: which processes share a store, and which of them live.

A process that joins holds a lock as long as it lives, which the database takes away when the
process dies, however it does. Nobody is declared dead for being slow: no heartbeat is written, no
row grows old.

| the row | the lock     | the member                                                         |
|---------|--------------|--------------------------------------------------------------------|
| there   | held         | lives                                                              |
| there   | can be taken | is dead: the first survivor that looks reaps its jobs, and the row |
| gone    | any          | has left, or was reaped; what it claims after that is reaped, too  |

The row and its lock come at once, so there is no moment at which who joins looks dead. A member
whose connection breaks has lost its lock, or cannot know: it is told by `lost`, and works on
nothing any more, since others have its jobs. What it still says of them is refused by the queue.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from typing import Protocol

from sidetask.core.errors import ConfigurationError
from sidetask.core.ids import ConversationId, value
from sidetask.stores.queue import MAX_CLAIMS, StoredJob

HOME = "home"
"""The kind, and the id, of the record that says who has a conversation open."""
NOBODY, STUCK, BELOW = "nobody", "stuck", "below"
"""Its statuses besides the id of a member: nobody has it; nobody takes it up before a user's
process has opened it; it is part of another one."""


@value(kw_only=True)
class Forsaken:
    """A conversation that has something to do, and that no living member has open."""

    conversation_id: ConversationId
    agent: str
    had_by: str
    """The id of the member that had it and lives no more, or `NOBODY`."""


@value(kw_only=True)
class Member:
    """A process that shares the store."""

    id: str
    """Unique for each start of a process. It owns jobs by this name."""
    role: str
    """`worker` or `home`."""
    host: str
    pid: int
    started_at: float
    """Seconds since the epoch."""
    version: str
    """Of sidetask."""
    tools: Mapping[str, str] = field(default_factory=dict[str, str])
    """What it can carry out: the fingerprint of each key."""
    concurrency: int = 0
    """How many jobs it works on at once."""
    draining: bool = False
    """It claims nothing any more."""


class Membership(Protocol):
    """A member's hold on the store."""

    member: Member
    """As others see it."""
    lost: asyncio.Event
    """Set when others may take this member for dead: its connection broke."""

    async def update(self, member: Member) -> None:
        """Show others this, in place of what they saw. Its `id` stays."""
        ...

    async def leave(self) -> None:
        """Be a member no longer; what it still had is reaped. Twice is fine."""
        ...

    async def reap(self, *, max_claims: int = MAX_CLAIMS) -> Sequence[StoredJob]:
        """Look who died, do with their jobs what is to be done, and return those as they stand
        now. Of any number of survivors one reaps a job. It costs one question if nobody died;
        nothing tells of a death, so look about once a second.

        Raises:
            StoreUnavailableError: The store cannot be reached now; nothing was reaped.
        """
        ...


class Members(Protocol):
    """The processes that share a store."""

    async def join(self, member: Member) -> Membership:
        """Become a member, until `leave`, or the end of the store or the process.

        Raises:
            ConfigurationError: This sort of store cannot tell who lives.
            StoreUnavailableError: It cannot be reached now, or a member of this id is not known
                to be dead.
        """
        ...

    async def living(self) -> Sequence[Member]:
        """The members that live now, in the order in which they joined."""
        ...

    async def forsaken(self, agents: Collection[str], *, limit: int) -> Sequence[Forsaken]:
        """Conversations with these agents that have something to do, and that no living member
        has open; those that nobody has touched for longest come first. One question, however many
        conversations there are.

        To do is: an order that is open; a result that asks for a turn; a turn that never ended; a
        task that has not ended and is no job, or one that is over; a task that waits for a
        decision which has been made; a question of a job that nobody was asked."""
        ...


class NoMembers(Members):
    """Of a store that cannot tell who lives."""

    async def join(self, member: Member) -> Membership:
        raise ConfigurationError(
            "workers need a store that can tell which processes live: give "
            "'postgresql://user@host/database'; with another one all work is done at home"
        )

    async def living(self) -> Sequence[Member]:
        return ()

    async def forsaken(self, agents: Collection[str], *, limit: int) -> Sequence[Forsaken]:
        return ()

    async def close(self) -> None:
        """Nobody is a member."""
