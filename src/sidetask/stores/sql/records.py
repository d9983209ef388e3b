"""Records, counters and the state, in tables."""

from collections.abc import Sequence
from operator import itemgetter
from typing import TypeVar

from sidetask.core.codec import value_from_json, value_to_json
from sidetask.core.ids import ConversationId
from sidetask.stores.base import (
    PAGE,
    Kind,
    Record,
    StateEntry,
    check_name,
    kept_state,
    space_of,
)
from sidetask.stores.sql.driver import Connection, Row
from sidetask.stores.sql.line import Line
from sidetask.stores.sql.rows import read, written

T = TypeVar("T")

_INSERT = """INSERT INTO sidetask_records AS kept
    (kind, conversation_id, id, status, open, at, data) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (conversation_id, kind, id) DO """
_PUT = (
    _INSERT
    + """UPDATE SET status = excluded.status, open = excluded.open, at = excluded.at,
    data = excluded.data WHERE kept.open = 1"""
)
_CLAIM = _INSERT + "NOTHING"
_SWAP = """UPDATE sidetask_records SET status = ?, open = ?, at = ?, data = ?
    WHERE kind = ? AND conversation_id = ? AND id = ? AND status = ?"""
_SELECT = "SELECT conversation_id, id, status, at, data FROM sidetask_records WHERE kind = ?"
_THIS = _SELECT + " AND conversation_id = ? AND id = ?"
_OF_USER = """ AND conversation_id IN
    (SELECT id FROM sidetask_conversations WHERE user_id = ?)"""
_AFTER = """ AND place > (SELECT place FROM sidetask_records
    WHERE kind = ? AND conversation_id = ? AND id = ?)"""
_COUNT = """INSERT INTO sidetask_counters AS kept (conversation_id, name, total)
    VALUES (?, ?, ?)
    ON CONFLICT (conversation_id, name) DO UPDATE SET total = kept.total + excluded.total"""
_TOTAL = "SELECT total FROM sidetask_counters WHERE conversation_id = ? AND name = ?"
_SAVE_STATE = """INSERT INTO sidetask_state AS kept (space, owner, key, version, at, data)
    VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (space, owner, key) DO UPDATE SET version = excluded.version, at = excluded.at,
    data = excluded.data WHERE (excluded.version, excluded.at) >= (kept.version, kept.at)"""
_LOAD_STATE = """SELECT key, data FROM sidetask_state WHERE (space = 'app' AND owner = '')
    OR (space = 'user' AND owner = ?) OR (space = 'conversation' AND owner = ?) ORDER BY key"""


class SqlRecords:
    """`Records` and `States`, over a line to a database."""

    _line: Line

    def put(self, record: Record[T]) -> None:
        self._line.hand_over(_put, record.conversation_id, _row(record))

    async def get(
        self, kind: Kind[T], conversation_id: ConversationId, id: str
    ) -> Record[T] | None:
        found = await self._line.read(lambda db: db.rows(_THIS, (kind.name, conversation_id, id)))
        return _record(kind, found[0]) if found else None

    async def find(  # noqa: PLR0913 - each narrows the question
        self,
        kind: Kind[T],
        *,
        conversation_id: ConversationId | None = None,
        user: str | None = None,
        id: str | None = None,
        open: bool | None = None,
        after: Record[T] | None = None,
        limit: int = PAGE,
    ) -> Sequence[Record[T]]:
        sql, values = _SELECT, list[object]([kind.name])
        if conversation_id is not None:
            sql += " AND conversation_id = ?"
            values.append(conversation_id)
        if user is not None:
            sql += _OF_USER
            values.append(user)
        if id is not None:
            sql += " AND id = ?"
            values.append(id)
        if open is not None:
            sql += " AND open = 1" if open else " AND open = 0"
        if after is not None:
            sql += _AFTER
            values += [kind.name, after.conversation_id, after.id]
        values.append(limit)
        found = await self._line.read(lambda db: db.rows(sql + " ORDER BY place LIMIT ?", values))
        return [_record(kind, row) for row in found]

    async def swap(self, record: Record[T], *, expect: str | None) -> Record[T] | None:
        row = _row(record)
        kind, conversation_id, id, *changed = row

        def swap(db: Connection) -> Row | None:
            if expect is None:
                done = db.run(_CLAIM, row)
            else:
                done = db.run(_SWAP, (*changed, kind, conversation_id, id, expect))
            if done:
                return None
            return next(iter(db.rows(_THIS, (kind, conversation_id, id))), ())

        stands = await self._line.ask(record.conversation_id, swap)
        if stands is None:
            return record
        return _record(record.kind, stands) if stands else None

    async def count(self, conversation_id: ConversationId, name: str, amount: float = 0.0) -> float:
        check_name("the name of a counter", name)

        def add(db: Connection) -> float:
            db.run(_COUNT, (conversation_id, name, float(amount)))
            return db.rows(_TOTAL, (conversation_id, name))[0][0]

        return await self._line.ask(conversation_id, add)

    def save_state(
        self,
        conversation_id: ConversationId,
        entries: Sequence[StateEntry],
        *,
        user: str | None = None,
    ) -> None:
        rows = [_state_row(entry, conversation_id, user) for entry in kept_state(entries)]
        for row in rows:
            of = conversation_id if row[0] == "conversation" else ""
            self._line.hand_over(_save_state, of, row)

    async def load_state(
        self, conversation_id: ConversationId, *, user: str | None = None
    ) -> Sequence[StateEntry]:
        values = ("" if user is None else user, conversation_id)
        found = await self._line.read(lambda db: db.rows(_LOAD_STATE, values))
        return [
            read(f"the state {key!r}", text, lambda data: value_from_json(StateEntry, data))
            for key, text in found
        ]


def _put(db: Connection, rows: Sequence[Row]) -> None:
    db.run_each(_PUT, rows)


def _save_state(db: Connection, rows: Sequence[Row]) -> None:
    # All processes take shared keys in one order, so that none waits for another in a circle.
    db.run_each(_SAVE_STATE, sorted(rows, key=itemgetter(0, 1, 2)))


def _row(record: Record[T]) -> Row:
    check_name("the id of a record", record.id)
    check_name("the id of a conversation", record.conversation_id)
    check_name("the status of a record", record.status)
    return (
        record.kind.name,
        record.conversation_id,
        record.id,
        record.status,
        int(record.open),
        record.at,
        written(value_to_json(record.kind.type, record.value)),
    )


def _record(kind: Kind[T], row: Row) -> Record[T]:
    conversation_id, id, status, at, text = row
    where = f"{kind.name} {id} of {conversation_id}"
    return Record(
        kind=kind,
        conversation_id=ConversationId(conversation_id),
        id=id,
        status=status,
        at=at,
        value=read(where, text, lambda data: value_from_json(kind.type, data)),
    )


def _state_row(entry: StateEntry, conversation_id: str, user: str | None) -> Row:
    check_name("a key of the state", entry.key)
    space, owner = space_of(entry.key, conversation_id, user)
    text = written(value_to_json(StateEntry, entry))
    return space, owner, entry.key, entry.version, entry.at, text
