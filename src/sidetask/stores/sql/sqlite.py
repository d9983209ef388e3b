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
from sidetask.stores.sql.driver import Connection, Driver, Heard, Looker, Passing, Refused, Row
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
    locks = None

    def __init__(self, path: Path, *, busy: float = BUSY) -> None:
        self._path = path
        self._busy = busy
        self._writer = uuid4().hex
        """Tells our writes from those of others."""

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
        return SqliteConnection(made, self._writer)

    def has_tables(self, connection: Connection) -> bool:
        return bool(
            connection.rows("SELECT 1 FROM sqlite_master WHERE name = 'sidetask_migrations'")
        )

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
        return _Poll(looker, self._writer, heard).start()


def _prepare(made: sqlite3.Connection) -> None:
    with suppress(sqlite3.OperationalError):  # a read-only file keeps the mode it has
        made.execute("PRAGMA journal_mode = WAL")
    made.execute("PRAGMA synchronous = NORMAL")


class SqliteConnection(Connection):
    """One connection to a file."""

    def __init__(self, made: sqlite3.Connection, writer: str) -> None:
        self._made = made
        self._writer = writer
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
        self._made.executemany(_TOUCH, [(each, self._writer) for each in sorted(topics)])

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._made.close()


class _Poll:
    """Looks for what others wrote, as long as somebody listens."""

    def __init__(self, looker: Looker, writer: str, heard: Heard) -> None:
        self._looker = looker
        self._writer = writer
        self._heard = heard
        self._seen: tuple[int, int] | None = None
        """SQLite's number for the file's changes by others, and the last touch that was told."""
        self._ended = False

    def start(self) -> Callable[[], None]:
        self._look()
        return self._end

    def _end(self) -> None:
        self._ended = True

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
        number = connection.rows("PRAGMA data_version")[0][0]
        seen = self._seen
        if seen is not None and number == seen[0]:
            return []
        touches = connection.rows(_TOUCHED, (-1 if seen is None else seen[1],))
        last = max([touch for _, touch, _ in touches], default=-1 if seen is None else seen[1])
        self._seen = number, last
        return None if seen is None else [id for id, _, by in touches if by != self._writer]


def sqlite_store(path: Path) -> SqlStore:
    """A store in a file."""
    return SqlStore(SqliteDriver(path))
