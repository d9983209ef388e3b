"""What the SQL store needs of a database: the seam between its statements and a library.

The statements are written once, in the words that both know: `?` stands for a value, a table is
called `sidetask_x`. Everything here is called in the store's one thread.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from socket import socket
from typing import Any, Protocol, TypeAlias, TypeVar

from sidetask.core.errors import StoreError

T = TypeVar("T")

Row: TypeAlias = tuple[Any, ...]
Heard: TypeAlias = Callable[[str | None], None]
"""Told in the loop what another process has written to: a topic. None: perhaps any."""

ALL = ""
"""The topic of whoever reads conversations; that of one conversation is its id."""
JOBS = "\0"
"""The topic of whoever looks at jobs or members; that of one job is this and its id. No
conversation's id begins with it."""


class Refused(Exception):  # noqa: N818 - an answer and no failure
    """The database will never take this row. In each driver its own errors of that sort, too."""


class Taken(Refused):
    """What it tells of was told by another process already."""


class Passing(Exception):  # noqa: N818 - as above
    """The database had to give one of two transactions up, and chose this: do it again."""


class Connection(Protocol):
    """One connection, in no transaction unless `begin` says so."""

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """What a query gives."""
        ...

    def run(self, sql: str, values: Sequence[object] = ()) -> int:
        """Carry out a statement; returns how many rows it has changed."""
        ...

    def run_each(self, sql: str, rows: Sequence[Row]) -> None:
        """Carry out a statement for each row."""
        ...

    def begin(self) -> None:
        """Begin a transaction that writes. Should it fail half way, `rollback` ends what began."""
        ...

    def commit(self) -> None: ...
    def rollback(self) -> None:
        """End the transaction if there is one, and never fail."""
        ...

    def tell(self, topics: Collection[str]) -> None:
        """Within a transaction: let other processes know, when it is committed."""
        ...

    def number(self) -> int:
        """Within a transaction: its number. Of two transactions that do not run at once, the
        later has the higher one."""
        ...

    def unseen(self) -> tuple[int, int]:
        """Of which numbers there may be transactions that a reader does not see yet: from the
        first on; from the second on it sees none."""
        ...

    def close(self) -> None:
        """Let go, and never fail."""
        ...


class Guest(Protocol):
    """A connection of the program's own, which it commits itself. Called in the loop."""

    async def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """What a query gives."""
        ...

    async def run(self, sql: str, values: Sequence[object] = ()) -> None:
        """Carry out a statement."""
        ...

    async def has_tables(self) -> bool:
        """Whether its database has ours."""
        ...

    async def tell(self, topic: str) -> None:
        """Let processes know, ours too, when it is committed."""
        ...


class Looker(Protocol):
    """Who can ask a connection something from the loop."""

    def submit(self, question: Callable[[Connection], T]) -> "asyncio.Future[T]":
        """Ask something that writes nothing, now."""
        ...


class Locks(Protocol):
    """Locks by number, which a connection holds until it ends. The database takes them away when
    the other side is gone."""

    held: str
    """A query for the numbers of those that somebody holds now, in whatever transaction."""

    def take(self, connection: Connection, number: int) -> None:
        """Hold a lock that nobody else has, until the connection ends."""
        ...

    def try_for_now(self, connection: Connection, number: int) -> bool:
        """Within a transaction: hold a lock until its end, if nobody else does."""
        ...

    def wait(self, connection: Connection, woken: socket) -> None:
        """Return when `woken` can be read; raise when the connection breaks."""
        ...


class Driver(Protocol):
    """How to reach one database."""

    counter: str
    """The type of a column that counts rows as they are inserted."""
    text: str
    """The type of a text that is sorted letter by letter."""
    for_update: str
    """At the end of a query: nobody else changes these rows until the transaction ends."""
    skip_locked: str
    """As above, without the rows that another transaction holds or is about to change."""
    for_key: str
    """At the end of a query: nobody deletes these rows until the transaction ends. Empty: nobody
    could, as one transaction writes at a time."""
    field: str
    """What a field of a JSON text holds, of a column `{0}` and a field's name `{1}`."""
    locks: Locks | None
    """None: it cannot tell who lives."""

    def open(self) -> Connection:
        """Connect.

        Raises:
            ConfigurationError: There is no such database, or it may not be opened.
        """
        ...

    def guest(self, tx: object) -> Guest:
        """A connection of the program's own: one of this library, or a cursor of one.

        Raises:
            ConfigurationError: It is none, or it is in no transaction and would begin none.
        """
        ...

    def has_tables(self, connection: Connection) -> bool:
        """Whether there is the table of migrations."""
        ...

    def lock_schema(self, connection: Connection) -> None:
        """Within a transaction: let no other process change the tables until it ends."""
        ...

    def translate(self, error: Exception) -> StoreError | Refused | Passing | None:
        """What an error of the library means; None: it is none of the library's."""
        ...

    def is_broken(self, error: Exception) -> bool:
        """After this error the connection is of no use."""
        ...

    def watch(self, looker: Looker, heard: Heard) -> Callable[[], None]:
        """Tell what other processes write, until what it returns is called."""
        ...
