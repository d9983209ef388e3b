"""SQLite, by the library that comes with Python.

WAL, so that other processes read while this one writes; `synchronous=NORMAL`, so that what was
committed survives the process, and after a power cut the file is whole and may lack the last
moments. A transaction that writes begins as IMMEDIATE: it waits for its turn, and never
has to give up in the middle.

Other processes are noticed by looking: SQLite has no bus. While somebody listens, a number that
the file's other writers change is read five times a second.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from sidetask.core.errors import (
    ConfigurationError,
    StoreClosedError,
    StoreCorruptError,
    StoreError,
    StoreUnavailableError,
)
from sidetask.stores.sql.driver import (
    Connection,
    Driver,
    Guest,
    Heard,
    Looker,
    Passing,
    Refused,
    Row,
)
from sidetask.stores.sql.store import SqlStore

BUSY = 5.0
"""Seconds that a write waits for another process."""
LOOK = 0.2
"""Seconds between two looks for what others wrote."""
_REMEMBERED = 10_000  # topics whose last change is noted for others

_TOUCHES = """CREATE TABLE IF NOT EXISTS sidetask_touches (
    conversation_id TEXT PRIMARY KEY, touch INTEGER NOT NULL UNIQUE, writer TEXT NOT NULL)"""
_TOUCH = """INSERT INTO sidetask_touches (conversation_id, touch, writer)
    VALUES (?, (SELECT coalesce(max(touch), 0) + 1 FROM sidetask_touches), ?)
    ON CONFLICT (conversation_id) DO UPDATE SET touch = excluded.touch, writer = excluded.writer"""
_FORGET = """DELETE FROM sidetask_touches
    WHERE touch <= (SELECT max(touch) FROM sidetask_touches) - ?"""
_HAS_TABLES = "SELECT 1 FROM sqlite_master WHERE name = 'sidetask_migrations'"
_LAST = "SELECT coalesce(max(touch), 0) FROM sidetask_touches"
_TOUCHED = "SELECT conversation_id, touch, writer FROM sidetask_touches WHERE touch > ?"

# The low byte of SQLite's error codes is the sort of error: https://sqlite.org/rescode.html
_WHY = {
    sqlite3.SQLITE_FULL: ("the disk is full", "make room"),
    sqlite3.SQLITE_IOERR: ("the disk failed", "check the disk"),
    sqlite3.SQLITE_READONLY: ("the file is read-only", "make it and its folder writable"),
    sqlite3.SQLITE_BUSY: ("another process is writing", "end it, or wait"),
    sqlite3.SQLITE_LOCKED: ("another process is writing", "end it, or wait"),
    sqlite3.SQLITE_CANTOPEN: ("the file cannot be opened", "make it and its folder writable"),
    sqlite3.SQLITE_NOMEM: ("there is no memory left", "make room"),
    sqlite3.SQLITE_PERM: ("the file may not be opened", "make it and its folder writable"),
    sqlite3.SQLITE_INTERRUPT: ("it was interrupted", "try again"),
}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_NOT_TAKEN = {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH}


class SqliteDriver(Driver):
    """A database in a file."""

    counter = "INTEGER PRIMARY KEY AUTOINCREMENT"
    text = "TEXT"
    for_update = ""  # one transaction writes at a time
    skip_locked = ""
    for_key = ""
    field = "json_extract({0}, '$.{1}')"
    locks = None

    def __init__(self, path: Path, *, busy: float = BUSY) -> None:
        self._path = path
        self._busy = busy
        self._touches = _Touches()

    def open(self) -> "SqliteConnection":
        if not self._path.parent.is_dir():
            raise ConfigurationError(
                f"there is no folder {self._path.parent}: make it, or give another store="
            )
        made = sqlite3.connect(
            self._path, timeout=self._busy, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(made)
        except BaseException:  # the one boundary: no connection is left open
            made.close()
            raise
        return SqliteConnection(made, self._touches)

    def guest(self, tx: object) -> Guest:
        made = tx.connection if isinstance(tx, sqlite3.Cursor) else tx
        if not isinstance(made, sqlite3.Connection):
            raise ConfigurationError(
                "tx= is a sqlite3.Connection or Cursor on the store's file, not "
                f"{type(tx).__name__}"
            )
        if not made.in_transaction and _autocommits(made):
            raise ConfigurationError("this connection is in autocommit mode: begin a transaction")
        return SqliteGuest(made)

    def has_tables(self, connection: Connection) -> bool:
        return bool(connection.rows(_HAS_TABLES))

    def lock_schema(self, connection: Connection) -> None:
        connection.run(_TOUCHES)  # the transaction itself is the lock

    def translate(self, error: Exception) -> StoreError | Refused | Passing | None:
        if isinstance(error, Refused | Passing | StoreError):
            return error
        if not isinstance(error, sqlite3.Error | UnicodeEncodeError | OverflowError):
            return None
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _DAMAGED or "decode" in str(error):
            return StoreCorruptError(str(self._path), str(error))
        if code in _NOT_TAKEN or not code:  # without a code: a value that it cannot take
            return Refused(str(error))
        why, instead = _WHY.get(code, (str(error), "try again"))
        return StoreUnavailableError(f"{self._path}: {why}", instead)

    def is_broken(self, error: Exception) -> bool:
        return False

    def watch(self, looker: Looker, heard: Heard) -> Callable[[], None]:
        return _Poll(looker, self._touches, heard).start()


class SqliteGuest(Guest):
    """A connection of the program's own."""

    def __init__(self, made: sqlite3.Connection) -> None:
        self._made = made

    async def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        return self._made.execute(sql, tuple(values)).fetchall()

    async def run(self, sql: str, values: Sequence[object] = ()) -> None:
        self._made.execute(sql, tuple(values))

    async def has_tables(self) -> bool:
        return bool(await self.rows(_HAS_TABLES))

    async def tell(self, topic: str) -> None:
        await self.run(_TOUCH, (topic, "guest"))


def _autocommits(made: sqlite3.Connection) -> bool:
    """Whether a statement outside of a transaction is committed by itself."""
    mode = getattr(made, "autocommit", -1)  # from Python 3.12 on; -1 says what came before it
    return made.isolation_level is None if mode == -1 else bool(mode)


def _prepare(made: sqlite3.Connection) -> None:
    with suppress(sqlite3.OperationalError):  # a read-only file keeps the mode it has
        made.execute("PRAGMA journal_mode = WAL")
    made.execute("PRAGMA synchronous = NORMAL")


class SqliteConnection(Connection):
    """One connection to a file."""

    def __init__(self, made: sqlite3.Connection, touches: "_Touches") -> None:
        self._made = made
        self._touches = touches
        self._told = 0

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        return self._made.execute(sql, tuple(values)).fetchall()

    def run(self, sql: str, values: Sequence[object] = ()) -> int:
        return self._made.execute(sql, tuple(values)).rowcount

    def run_each(self, sql: str, rows: Sequence[Row]) -> None:
        self._made.executemany(sql, rows)

    def begin(self) -> None:
        self._made.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._made.execute("COMMIT")

    def rollback(self) -> None:
        if self._made.in_transaction:  # a full disk has ended it already
            with suppress(sqlite3.Error):
                self._made.execute("ROLLBACK")

    def tell(self, topics: Collection[str]) -> None:
        self._told += len(topics)
        if self._told >= _REMEMBERED:
            self._told = 0
            self._made.execute(_FORGET, (_REMEMBERED,))
        self._touches.gather(self)  # before our own touches hide them
        writer = self._touches.writer
        self._made.executemany(_TOUCH, [(each, writer) for each in sorted(topics)])

    def number(self) -> int:
        # One transaction writes at a time, and each leaves a touch.
        return self.rows(_LAST)[0][0] + 1

    def unseen(self) -> tuple[int, int]:
        following = self.number()
        return following, following

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._made.close()


class _Touches:
    """What others have touched, as far as it was not told yet. Used in the store's thread.

    A topic's last touch stands for all: before we touch one, what others have is noted.
    """

    def __init__(self) -> None:
        self.writer = uuid4().hex
        """Tells our writes from those of others."""
        self.wanted = False
        """Somebody listens."""
        self._last = 0
        """The last touch that was looked at."""
        self._number = -1
        """SQLite's for the file's changes by others."""
        self._found: dict[str, None] = {}

    def gather(self, connection: Connection) -> None:
        """Note what was touched since the last time."""
        if not self.wanted:
            return
        for topic, touch, writer in connection.rows(_TOUCHED, (self._last,)):
            self._last = max(self._last, touch)
            if writer != self.writer:
                self._found[topic] = None

    def begin(self, connection: Connection) -> None:
        """Somebody listens, from now on."""
        self.wanted = True
        self._found.clear()
        self._last = connection.rows(_LAST)[0][0]

    def changes(self, connection: Connection) -> list[str]:
        """What others have touched since the last time."""
        number = connection.rows("PRAGMA data_version")[0][0]
        if number != self._number:
            self._number = number
            self.gather(connection)
        found, self._found = list(self._found), {}
        return found


class _Poll:
    """Looks for what others wrote, as long as somebody listens."""

    def __init__(self, looker: Looker, touches: _Touches, heard: Heard) -> None:
        self._looker = looker
        self._touches = touches
        self._heard = heard
        self._has_begun = False
        self._ended = False

    def start(self) -> Callable[[], None]:
        self._look()
        return self._end

    def _end(self) -> None:
        self._ended = True
        self._touches.wanted = False

    def _look(self) -> None:
        if self._ended:
            return
        with suppress(StoreClosedError):
            self._looker.submit(self._changes).add_done_callback(self._tell)

    def _tell(self, looking: "asyncio.Future[list[str] | None]") -> None:
        if self._ended or looking.cancelled():
            return
        changed = [] if looking.exception() is not None else looking.result()
        for topic in [None] if changed is None else changed:
            self._heard(topic)
        asyncio.get_running_loop().call_later(LOOK, self._look)

    def _changes(self, connection: Connection) -> list[str] | None:
        """In the thread: what others wrote since the last look; None at the first one."""
        if not self._has_begun:
            self._touches.begin(connection)
            self._has_begun = True
            return None
        return self._touches.changes(connection)


def sqlite_store(path: Path) -> SqlStore:
    """A store in a file."""
    return SqlStore(SqliteDriver(path))
