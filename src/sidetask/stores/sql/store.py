"""The store in a database, and its facts."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain

from sidetask.core.codec import event_from_json, event_to_json
from sidetask.core.events import Event
from sidetask.core.ids import ConversationId
from sidetask.stores.base import Joining, Store
from sidetask.stores.bounds import check_name, written
from sidetask.stores.members import NoMembers
from sidetask.stores.sql.conversations import SqlConversations
from sidetask.stores.sql.driver import Connection, Driver, Row, Taken
from sidetask.stores.sql.line import WAITING, Line
from sidetask.stores.sql.records import SqlRecords
from sidetask.stores.sql.rows import read
from sidetask.stores.sql.sharing.bus import Bus
from sidetask.stores.sql.sharing.members import SqlMembers
from sidetask.stores.sql.sharing.queue import SqlQueue

_FACTS = """SELECT seq, data FROM sidetask_facts
    WHERE conversation_id = ? AND seq > ? ORDER BY seq"""
_LAST = "SELECT coalesce(max(seq), 0) FROM sidetask_facts WHERE conversation_id = ?"
_CHUNKS = (256, 64, 16, 4, 1)
"""Rows in one statement. Each takes the interpreter's lock once, however many rows it has; a
program that is busy gives that lock away 200 times a second."""


class SqlStore(SqlConversations, SqlRecords, Store, Joining):
    """Keeps conversations in a database: see `open_store` for how to get one."""

    durable = True

    def __init__(self, driver: Driver, *, waiting: int = WAITING) -> None:
        self._driver = driver
        self._line = Line(driver, waiting=waiting)
        self._known: set[str] = set()
        self._bus = Bus(driver, self._line)
        self.queue = SqlQueue(driver, self._line, self._bus)
        locks = driver.locks
        self._members = (
            NoMembers() if locks is None else SqlMembers(driver, locks, self._line, self.queue)
        )
        self.members = self._members

    async def start(self) -> None:
        await self._line.open()

    async def close(self) -> None:
        try:
            await self._members.close()
        finally:
            try:
                await self._line.close()
            finally:
                self._bus.end()  # who follows learns that it is closed

    # -- facts -------------------------------------------------------------------------------

    def append(self, fact: Event) -> None:
        conversation_id = fact.conversation_id
        if conversation_id not in self._known:
            check_name("the id of a conversation", conversation_id)
            if len(self._known) >= 10_000:
                self._known.clear()
            self._known.add(conversation_id)
        row = (conversation_id, fact.seq, fact.at, written(event_to_json(fact)))
        self._line.hand_over(_append, conversation_id, row)

    async def stored(self) -> None:
        await self._line.flushed()

    async def facts(
        self, conversation_id: ConversationId, *, after: int = 0, limit: int | None = None
    ) -> Sequence[Event]:
        sql, values = _FACTS, list[object]([conversation_id, after])
        if limit is not None:
            sql += " LIMIT ?"
            values.append(limit)

        def facts(db: Connection) -> list[Event]:  # in the thread, as there may be many
            return [
                read(f"fact {seq} of {conversation_id}", text, event_from_json)
                for seq, text in db.rows(sql, values)
            ]

        return await self._line.read(facts)

    async def last_seq(self, conversation_id: ConversationId) -> int:
        found = await self._line.read(lambda db: db.rows(_LAST, (conversation_id,)))
        self._line.refused.pop(conversation_id, None)
        return found[0][0]

    def listen(self, heard: Callable[[ConversationId | None], None]) -> Callable[[], None]:
        return self._bus.of_conversations(heard)

    def on_taken(self, heard: Callable[[ConversationId], None]) -> Callable[[], None]:
        taken = self._line.taken
        taken.append(heard)
        return lambda: taken.remove(heard) if heard in taken else None


def _append(db: Connection, rows: Sequence[Row]) -> None:
    """Write facts. One that is there already, and the same, is fine."""
    at = 0
    for size in _CHUNKS:
        while len(rows) - at >= size:
            chunk = rows[at : at + size]
            at += size
            if db.run(_statement(size), tuple(chain.from_iterable(chunk))) < size:
                raise Taken


@cache
def _statement(rows: int) -> str:
    places = ", ".join(["(?, ?, ?, ?)"] * rows)
    return f"""INSERT INTO sidetask_facts AS kept (conversation_id, seq, at, data)
        VALUES {places} ON CONFLICT (conversation_id, seq)
        DO UPDATE SET data = excluded.data WHERE kept.data = excluded.data"""  # noqa: S608 - places
