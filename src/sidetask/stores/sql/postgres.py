"""Postgres 13 or newer, by psycopg: the one file that imports it.

The tables are in a schema of their own, `sidetask`. Other processes are told by `NOTIFY` when a
transaction is committed, and hear it on a direct connection each: a pooler that hands connections
out for single transactions hears nothing.

A connection that is lost while it commits does not say whether it has. The server does: it is
asked for the transaction by its id, over a new connection, as soon as there is one. Until then
nobody can say what became of the batch, and whoever asks waits.
"""

import asyncio
import re
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import lru_cache
from selectors import EVENT_READ, DefaultSelector
from socket import socket
from typing import Any, cast
from uuid import uuid4

import psycopg
from psycopg import errors, sql
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from sidetask.core.errors import ConfigurationError, StoreError, StoreUnavailableError
from sidetask.stores.sql.driver import (
    JOBS,
    Connection,
    Driver,
    Guest,
    Heard,
    Locks,
    Looker,
    Passing,
    Refused,
    Row,
)
from sidetask.stores.sql.store import SqlStore

CONNECT = 10
"""Seconds to wait for a connection."""
_CHANNEL, _JOBS_CHANNEL = "sidetask", "sidetask_jobs"
_LOCK = 0x51DE7A5C  # any number, as long as every version has the same
_LIVES = 0x51DE7A5D  # as above: the first half of a member's lock
_HAS_TABLES = "SELECT to_regclass('sidetask_migrations') IS NOT NULL"
_PATIENCE = 1.0  # seconds after which a listener looks whether it shall end, or tries again
_LOOKS, _LOOK = 100, 0.05  # how often, and how many seconds apart
_UNSEEN = """SELECT pg_snapshot_xmin(s)::text, pg_snapshot_xmax(s)::text
    FROM (SELECT pg_current_snapshot()) AS snapshot(s)"""
_DOUBT = 60.0  # seconds to try for a new connection
_WATCHED = (
    # The server gives a dead machine's locks away after half a minute, not after hours; and it
    # does not end a connection for saying nothing.
    "SET tcp_keepalives_idle = 10",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 3",
    """SELECT set_config(name, '0', false) FROM pg_settings
    WHERE name IN ('idle_session_timeout', 'statement_timeout')""",
)
_HELP = "check that the server runs and can be reached"
_SECRET = re.compile(r"""(["'])[^"']*[@%][^"']*\1""")
"""What libpq quotes of a URL that it cannot read may hold a part of the password."""


class PostgresDriver(Driver):
    """A database on a server."""

    counter = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    text = 'TEXT COLLATE "C"'
    for_update = " FOR UPDATE"
    skip_locked = " FOR UPDATE SKIP LOCKED"
    for_key = " FOR KEY SHARE"
    # Not as JSON: one text with a NUL, or one damaged row, would fail the query for all others.
    field = """substring({0} from '"{1}": *"([^"]*)"')"""

    def __init__(self, url: str) -> None:
        self._url = url
        self.locks = PostgresLocks()
        self._writer = uuid4().hex
        """Tells our writes from those of others."""

    def open(self) -> "PostgresConnection":
        return PostgresConnection(self._connect, self._writer)

    def guest(self, tx: object) -> Guest:
        is_cursor = isinstance(tx, psycopg.Cursor | psycopg.AsyncCursor)
        made: object = cast("Any", tx).connection if is_cursor else tx
        if not isinstance(made, psycopg.Connection | psycopg.AsyncConnection):
            raise ConfigurationError(
                "tx= is a psycopg connection or cursor, async or not, on the store's database, not "
                f"{type(tx).__name__}"
            )
        if made.autocommit and made.info.transaction_status == TransactionStatus.IDLE:
            raise ConfigurationError("this connection is in autocommit mode: begin a transaction")
        return PostgresGuest(cast("psycopg.Connection[Any]", made))

    def has_tables(self, connection: Connection) -> bool:
        return bool(connection.rows(_HAS_TABLES)[0][0])

    def lock_schema(self, connection: Connection) -> None:
        connection.rows("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
        connection.run("CREATE SCHEMA IF NOT EXISTS sidetask")

    def translate(self, error: Exception) -> StoreError | Refused | Passing | None:
        match error:
            case Refused() | Passing() | StoreError():
                return error
            case errors.IntegrityError() | errors.DataError() | UnicodeEncodeError():
                return Refused(_first_line(error))
            case errors.DeadlockDetected() | errors.SerializationFailure():
                return Passing(_first_line(error))
            case errors.OperationalError() | errors.InterfaceError() | errors.InternalError():
                return StoreUnavailableError(f"Postgres: {_first_line(error)}", _HELP)
            case psycopg.Error():
                return StoreUnavailableError(
                    f"Postgres: {_first_line(error)}", "check the rights of the database's user"
                )
            case _:
                return None

    def is_broken(self, error: Exception) -> bool:
        # A session that may only read was begun while its server did not take writes: on a standby,
        # or because the disk was full. It never may, whatever becomes of the server.
        lost = isinstance(
            error,
            errors.OperationalError | errors.InterfaceError | errors.ReadOnlySqlTransaction,
        )
        return lost and not isinstance(error, errors.DeadlockDetected | errors.SerializationFailure)

    def watch(self, looker: Looker, heard: Heard) -> Callable[[], None]:
        return _Listener(self._connect, self._writer, heard).start()

    def _connect(self) -> psycopg.Connection[Row]:
        try:
            return psycopg.connect(
                self._url,
                autocommit=True,
                row_factory=tuple_row,
                application_name="sidetask",
                connect_timeout=CONNECT,
                # A machine that went away is noticed within half a minute, not after hours.
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=30_000,
            )
        except psycopg.ProgrammingError as error:
            raise ConfigurationError(
                f"this is no URL of a database: {_first_line(error)};"
                " in a password @ is written %40, / %2F and % %25"
            ) from None
        except errors.OperationalError as error:
            if _is_refusal(error):
                raise ConfigurationError(f"Postgres: {_first_line(error)}") from None
            raise


class PostgresConnection(Connection):
    """One connection to a server."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Row]], writer: str) -> None:
        self._connect = connect
        self._made = connect()
        self._writer = writer
        self._transaction = ""

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        return self._made.execute(_in_its_words(sql), values).fetchall()

    def run(self, sql: str, values: Sequence[object] = ()) -> int:
        return self._made.execute(_in_its_words(sql), values).rowcount

    def run_each(self, sql: str, rows: Sequence[Row]) -> None:
        if rows:
            with self._made.cursor() as cursor:
                cursor.executemany(_in_its_words(sql), rows)

    def begin(self) -> None:
        with self._made.pipeline():  # one way to the server and back
            self._made.execute("BEGIN")
            found = self._made.execute("SELECT pg_current_xact_id()::text")
        self._transaction = found.fetchall()[0][0]

    def commit(self) -> None:
        try:
            self._made.execute("COMMIT")
        except errors.OperationalError:
            if not (self._made.broken and self._has_committed()):
                raise

    def rollback(self) -> None:
        with suppress(psycopg.Error):
            self._made.execute("ROLLBACK")

    def tell(self, topics: Collection[str]) -> None:
        # 8,000 bytes is the most that a payload may have; a name may have four for each letter.
        told = [
            (_JOBS_CHANNEL, f"{self._writer} {each.removeprefix(JOBS)}")
            if each.startswith(JOBS)
            else (_CHANNEL, f"{self._writer} {each}")
            for each in sorted(topics)
        ]
        self.run_each("SELECT pg_notify(?, ?)", told)

    def number(self) -> int:
        return int(self._transaction)

    def unseen(self) -> tuple[int, int]:
        # Numbers are given in the order of beginning, and seen in the order of committing.
        first, last = self.rows(_UNSEEN)[0]
        return int(first), int(last)

    def close(self) -> None:
        with suppress(psycopg.Error):
            self._made.close()

    def wait(self, woken: socket) -> None:
        """See `Locks`. It takes no time of the processor: the system knows when either is ready."""
        made = self._made
        for setting in _WATCHED:
            made.execute(setting)
        with DefaultSelector() as selector:
            selector.register(made.fileno(), EVENT_READ)
            selector.register(woken, EVENT_READ)
            while all(key.fileobj is not woken for key, _ in selector.select()):
                made.pgconn.consume_input()  # raises if the other side is gone

    def _has_committed(self) -> bool:
        self.close()
        self._made = self._connect_again()
        asked = "SELECT pg_xact_status(?::xid8)"
        for _ in range(_LOOKS):
            try:
                status = self.rows(asked, (self._transaction,))[0][0]
            except errors.DataError:  # it crashed before it wrote down that there was such a one
                return False
            if status != "in progress":
                return status == "committed"
            time.sleep(_LOOK)  # the server has not noticed yet that we are gone
        return False

    def _connect_again(self) -> psycopg.Connection[Row]:
        until = time.monotonic() + _DOUBT
        while True:
            try:
                return self._connect()
            except errors.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(_LOOK)


class PostgresLocks(Locks):
    """Advisory locks of a session: only a direct connection has any."""

    held = f"""SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory'
        AND classid = {_LIVES} AND objsubid = 2 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""  # noqa: S608 - a number

    def take(self, connection: Connection, number: int) -> None:
        connection.rows("SELECT pg_advisory_lock(?, ?)", (_LIVES, number))

    def try_for_now(self, connection: Connection, number: int) -> bool:
        asked = "SELECT pg_try_advisory_xact_lock(?, ?)"
        return connection.rows(asked, (_LIVES, number))[0][0]

    def wait(self, connection: Connection, woken: socket) -> None:
        cast("PostgresConnection", connection).wait(woken)


class PostgresGuest(Guest):
    """A connection of the program's own."""

    def __init__(self, made: "psycopg.Connection[Any] | psycopg.AsyncConnection[Any]") -> None:
        self._made = made

    async def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        words = _in_its_words(sql)
        if isinstance(self._made, psycopg.Connection):
            with self._made.cursor(row_factory=tuple_row) as cursor:
                return cursor.execute(words, values).fetchall()
        async with self._made.cursor(row_factory=tuple_row) as cursor:
            return await (await cursor.execute(words, values)).fetchall()

    async def run(self, sql: str, values: Sequence[object] = ()) -> None:
        words = _in_its_words(sql)
        if isinstance(self._made, psycopg.Connection):
            self._made.execute(words, values)
        else:
            await self._made.execute(words, values)

    async def has_tables(self) -> bool:
        return bool((await self.rows(_HAS_TABLES))[0][0])

    async def tell(self, topic: str) -> None:
        await self.rows("SELECT pg_notify(?, ?)", (_CHANNEL, f"guest {topic}"))


class _Listener:
    """Hears what others commit: a thread with a connection of its own."""

    def __init__(
        self, connect: Callable[[], psycopg.Connection[Row]], writer: str, heard: Heard
    ) -> None:
        self._connect = connect
        self._writer = writer
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._ended = threading.Event()

    def start(self) -> Callable[[], None]:
        threading.Thread(target=self._work, name="sidetask-listen", daemon=True).start()
        return self._ended.set

    def _work(self) -> None:
        while not self._ended.is_set():
            try:
                with self._connect() as connection:
                    self._listen(connection)
            except (psycopg.Error, ConfigurationError):
                self._ended.wait(_PATIENCE)

    def _listen(self, connection: psycopg.Connection[Row]) -> None:
        for channel in (_CHANNEL, _JOBS_CHANNEL):
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        self._tell(None)  # what was said before nobody has heard
        while not self._ended.is_set():
            for notice in connection.notifies(timeout=_PATIENCE):
                writer, _, of = notice.payload.partition(" ")
                if writer != self._writer:
                    self._tell(JOBS + of if notice.channel == _JOBS_CHANNEL else of)
                if self._ended.is_set():
                    return

    def _tell(self, topic: str | None) -> None:
        def tell() -> None:
            if not self._ended.is_set():
                self._heard(topic)

        try:
            self._loop.call_soon_threadsafe(tell)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self._ended.set()


@lru_cache(256)
def _in_its_words(statement: str) -> bytes:
    """A statement of ours in Postgres's words."""
    ours = statement.replace("sidetask_", "sidetask.").replace("?", "%s")
    return ours.replace("COLLATE BINARY", 'COLLATE "C"').encode()


def _first_line(error: Exception) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return _SECRET.sub(r"\1***\1", line)


def _is_refusal(error: Exception) -> bool:
    """Whether the server was reached and does not let us in."""
    words = ("authentication failed", "does not exist", "no password supplied", "permission denied")
    return any(word in str(error) for word in words)


def postgres_store(url: str) -> SqlStore:
    """A store on a server."""
    return SqlStore(PostgresDriver(url))
