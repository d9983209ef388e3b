"""Records, counters and the state, in tables."""

from collections.abc import Collection, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, TypeVar

from sidetask.core.codec import value_from_json, value_to_json
from sidetask.core.errors import ConfigurationError, ConversationNotFoundError
from sidetask.core.ids import ConversationId
from sidetask.stores.base import (
    PAGE,
    Kind,
    Record,
    Space,
    StateEntry,
    StateRead,
    kept_state,
    space_of,
    told_as,
)
from sidetask.stores.bounds import check_name, written
from sidetask.stores.sql.driver import Connection, Driver, Row
from sidetask.stores.sql.line import Line
from sidetask.stores.sql.rows import read

T = TypeVar("T")

_INSERT = """INSERT INTO sidetask_records AS kept
    (kind, conversation_id, id, status, open, at, data) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (conversation_id, kind, id) DO """
PUT = (
    _INSERT
    + """UPDATE SET status = excluded.status, open = excluded.open, at = excluded.at,
    data = excluded.data WHERE kept.open = 1"""
)
"""Writes a record, unless it is closed."""
_CLAIM = _INSERT + "NOTHING"
_IS_THERE = "SELECT 1 FROM sidetask_conversations WHERE id = ?"
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
_SAVE_STATE = """INSERT INTO sidetask_state AS kept (space, owner, key, version, at, data, change)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (space, owner, key) DO UPDATE SET version = excluded.version, at = excluded.at,
    data = excluded.data, change = excluded.change
    WHERE (excluded.version, excluded.at, excluded.data COLLATE BINARY)
    > (kept.version, kept.at, kept.data COLLATE BINARY)"""  # as `replaces` says
_LOAD_STATE = """SELECT key, data FROM sidetask_state WHERE (space = 'app' AND owner = '')
    OR (space = 'user' AND owner = ?) OR (space = 'conversation' AND owner = ?) ORDER BY key"""
_READ_STATE = """SELECT space, owner, key, data FROM sidetask_state
    WHERE (space, owner) IN (VALUES {places}){since} ORDER BY key"""
_SINCE = " AND change >= ? AND change < ?"
_SPACES = 500  # in one statement


class SqlRecords:
    """`Records` and `States`, over a line to a database."""

    _line: Line
    _driver: Driver

    def put(self, record: Record[T]) -> None:
        self._line.hand_over(self._put, record.conversation_id, row_of(record))

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
        row = row_of(record)
        kind, conversation_id, id, *changed = row

        def swap(db: Connection) -> Row | None:
            if record.open:
                hold(self._driver, db, [record.conversation_id])
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

    async def claim_within(self, tx: object, record: Record[Any]) -> None:
        row, guest = row_of(record), self._driver.guest(tx)
        if not await guest.has_tables():
            raise ConfigurationError(
                "the database of this transaction has no tables of sidetask: it is another one "
                "than the store's"
            )
        if not await guest.rows(_IS_THERE + self._driver.for_key, (record.conversation_id,)):
            raise ConversationNotFoundError(record.conversation_id)
        await guest.run(_CLAIM, row)
        await guest.tell(record.conversation_id)

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
            self._line.hand_over(_save_state, told_as((row[0], row[1])), row)

    async def load_state(
        self, conversation_id: ConversationId, *, user: str | None = None
    ) -> Sequence[StateEntry]:
        values = ("" if user is None else user, conversation_id)
        found = await self._line.read(lambda db: db.rows(_LOAD_STATE, values))
        return [_state_entry(key, text) for key, text in found]

    async def read_state(self, spaces: Collection[Space], *, after: int = 0) -> StateRead:
        wanted = list(spaces)

        def find(db: Connection) -> StateRead:  # in the thread, as there may be many
            first, mark = db.unseen()
            found: list[tuple[Space, StateEntry]] = []
            for start in range(0, len(wanted), _SPACES):
                found += _changed(db, wanted[start : start + _SPACES], after, mark)
            return StateRead(entries=found, mark=first)

        return await self._line.read(find)

    def _put(self, db: Connection, rows: Sequence[Row]) -> None:
        hold(self._driver, db, sorted({of for _, of, _, _, is_open, *_ in rows if is_open}))
        db.run_each(PUT, rows)


def hold(driver: Driver, db: Connection, conversation_ids: Sequence[str]) -> None:
    """Within a transaction: who forgets what is old leaves these conversations out, or is done with
    them before anything more is written to them."""
    if driver.for_key:
        for each in conversation_ids:
            db.rows(_IS_THERE + driver.for_key, (each,))


def _changed(
    db: Connection, spaces: Sequence[Space], after: int, until: int
) -> list[tuple[Space, StateEntry]]:
    """What was changed in spaces, by writers from number `after` to `until` (not included)."""
    places = ", ".join(["(?, ?)"] * len(spaces))
    values = list[object](chain.from_iterable(spaces))
    if after:
        values += [after, until]
    sql = _READ_STATE.format(places=places, since=_SINCE if after else "")
    return [
        ((space, owner), _state_entry(key, text))
        for space, owner, key, text in db.rows(sql, values)
    ]


def _save_state(db: Connection, rows: Sequence[Row]) -> None:
    # All processes take shared keys in one order, so that none waits for another in a circle.
    change = db.number()
    ordered = sorted(rows, key=itemgetter(0, 1, 2))
    db.run_each(_SAVE_STATE, [(*row, change) for row in ordered])


def row_of(record: Record[T]) -> Row:
    """A record, as `PUT` takes it."""
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


def _state_entry(key: str, text: str) -> StateEntry:
    return read(f"the state {key!r}", text, lambda data: value_from_json(StateEntry, data))
