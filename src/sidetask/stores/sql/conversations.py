"""Conversations and their messages, in tables.

What is old is forgotten slice by slice: each is a transaction of its own, and what this process
and others write comes in between, however much there is to forget.
"""

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from sidetask.core.codec import message_from_json, message_to_json
from sidetask.core.errors import ConversationTakenError
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.messages import Message
from sidetask.stores.base import COMPACTIONS, DELIVERED, PAGE, RESULT, ConversationRecord, Record
from sidetask.stores.bounds import check_name, written
from sidetask.stores.sql.driver import ALL, JOBS, Connection, Driver, Row
from sidetask.stores.sql.line import Line
from sidetask.stores.sql.records import PUT, hold, row_of
from sidetask.stores.sql.rows import plain, read

_SAVE = """INSERT INTO sidetask_conversations
    (id, agent, user_id, title, status, turns, created_at, updated_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET agent = excluded.agent, user_id = excluded.user_id,
    title = excluded.title, status = excluded.status, turns = excluded.turns,
    created_at = excluded.created_at, updated_at = excluded.updated_at"""
_SELECT = """SELECT id, agent, user_id, title, status, turns, created_at, updated_at
    FROM sidetask_conversations WHERE """
_PAGE = " ORDER BY updated_at DESC, id DESC LIMIT ?"
_LENGTH = """SELECT coalesce(max(position) + 1, 0) FROM sidetask_messages
    WHERE conversation_id = ?"""
_COMMIT = "INSERT INTO sidetask_messages (conversation_id, position, data) VALUES (?, ?, ?)"
_ACK = """UPDATE sidetask_records SET status = ?, open = 0
    WHERE conversation_id = ? AND kind = ? AND id = ?"""
_HISTORY = """SELECT position, data FROM sidetask_messages
    WHERE conversation_id = ? AND position >= ? ORDER BY position"""
_DELETE = (
    "DELETE FROM sidetask_conversations WHERE id = ?",
    "DELETE FROM sidetask_messages WHERE conversation_id = ?",
    "DELETE FROM sidetask_facts WHERE conversation_id = ?",
    "DELETE FROM sidetask_records WHERE conversation_id = ?",
    "DELETE FROM sidetask_counters WHERE conversation_id = ?",
    "DELETE FROM sidetask_state WHERE space = 'conversation' AND owner = ?",
)
_DELETE_JOBS = "DELETE FROM sidetask_jobs WHERE conversation_id = ?"
_DROP = "DELETE FROM sidetask_records WHERE conversation_id = ? AND kind = ?"
_UNTOUCHED = "SELECT id FROM sidetask_conversations AS c WHERE updated_at < ?"
_AT_REST = """ AND NOT EXISTS
    (SELECT 1 FROM sidetask_records AS r WHERE r.conversation_id = c.id AND r.open = 1)
    AND NOT EXISTS (SELECT 1 FROM sidetask_jobs AS j
    WHERE j.conversation_id = c.id AND j.status NOT IN ('ended', 'cancelled'))"""
_IN_ORDER = " ORDER BY c.id"
_TRIM = (
    # Who has a task that is open has not read yet what became of its job.
    (
        "sidetask_jobs",
        """DELETE FROM sidetask_jobs AS j WHERE status IN ('ended', 'cancelled') AND ended_at < ?
        AND NOT EXISTS (SELECT 1 FROM sidetask_records AS r
        WHERE r.conversation_id = j.conversation_id AND r.id = j.task_id AND r.open = 1)""",
    ),
    # What resuming a conversation needs stays with it: `LASTING`, and steps of a living task.
    (
        "sidetask_records",
        """DELETE FROM sidetask_records AS r WHERE open = 0 AND at < ?
        AND kind NOT IN ('approval', 'compaction', 'home', 'turn')
        AND NOT (kind = 'step' AND EXISTS (SELECT 1 FROM sidetask_records AS t
        WHERE t.kind = 'task' AND t.open = 1 AND t.conversation_id = r.conversation_id))""",
    ),
    # The last fact stays: it tells the seq that the next one goes on from.
    (
        "sidetask_facts",
        """DELETE FROM sidetask_facts AS f WHERE at < ? AND seq <
        (SELECT max(seq) FROM sidetask_facts AS l WHERE l.conversation_id = f.conversation_id)""",
    ),
)
"""What is forgotten of conversations that stay: of which table, and how."""
_AFTER, _UP_TO = " AND conversation_id > ?", " AND conversation_id <= ?"
_END = """SELECT conversation_id FROM {table} WHERE conversation_id > ?
    ORDER BY conversation_id LIMIT 1 OFFSET ?"""
_SLICE_OF_IDS, _SLICE_OF_ROWS = 100, 1_000
_PAUSE = 0.01
"""Seconds after a slice. Another process that waits to write to a SQLite file looks now and then
whether it may, and finds no gap that is shorter."""


class SqlConversations:
    """`Conversations`, over a line to a database."""

    _line: Line
    _driver: Driver

    def save(self, conversation: ConversationRecord) -> None:
        check_name("the id of a conversation", conversation.id)
        if conversation.user is not None:
            check_name("the user of a conversation", conversation.user)
        row = (
            conversation.id,
            plain(conversation.agent),
            conversation.user,
            plain(conversation.title),
            plain(conversation.status),
            conversation.turns,
            conversation.created_at,
            conversation.updated_at,
        )
        self._line.hand_over(_save, conversation.id, row)

    async def conversation(self, conversation_id: ConversationId) -> ConversationRecord | None:
        found = await self._line.read(lambda db: db.rows(_SELECT + "id = ?", (conversation_id,)))
        return _record(found[0]) if found else None

    async def conversations(
        self,
        *,
        user: str | None = None,
        after: ConversationRecord | None = None,
        limit: int = PAGE,
    ) -> Sequence[ConversationRecord]:
        where, values = "1 = 1", list[object]()
        if user is not None:
            where += " AND user_id = ?"
            values.append(user)
        if after is not None:
            where += " AND (updated_at, id) < (?, ?)"
            values += [after.updated_at, after.id]
        values.append(limit)
        found = await self._line.read(lambda db: db.rows(_SELECT + where + _PAGE, values))
        return [_record(row) for row in found]

    async def commit_turn(
        self,
        conversation_id: ConversationId,
        messages: Sequence[Message],
        *,
        ack: Sequence[TaskId] = (),
        closing: Sequence[Record[Any]] = (),
        at: int | None = None,
    ) -> None:
        check_name("the id of a conversation", conversation_id)
        closed = [row_of(record) for record in closing]
        texts = [written(message_to_json(message)) for message in messages]

        def commit(db: Connection) -> None:
            hold(self._driver, db, [conversation_id])
            if not all(db.run(PUT, row) for row in closed):
                return
            place = db.rows(_LENGTH, (conversation_id,))[0][0]
            if at is not None and place != at:
                if [text for _, text in db.rows(_HISTORY, (conversation_id, at))] == texts:
                    return
                raise ConversationTakenError(conversation_id)
            rows = [(conversation_id, place + n, text) for n, text in enumerate(texts)]
            db.run_each(_COMMIT, rows)
            db.run_each(_ACK, [(DELIVERED, conversation_id, RESULT, id) for id in ack])

        await self._line.ask(conversation_id, commit)

    async def history(
        self, conversation_id: ConversationId, *, start: int = 0
    ) -> Sequence[Message]:
        def history(db: Connection) -> tuple[Message, ...]:  # in the thread: it may be long
            return tuple(
                [
                    read(f"message {place} of {conversation_id}", text, message_from_json)
                    for place, text in db.rows(_HISTORY, (conversation_id, start))
                ]
            )

        return await self._line.read(history)

    async def clear(self, conversation_id: ConversationId) -> None:
        def clear(db: Connection) -> None:
            db.run("DELETE FROM sidetask_messages WHERE conversation_id = ?", (conversation_id,))
            db.run(_DROP, (conversation_id, COMPACTIONS.name))

        await self._line.ask(conversation_id, clear)

    async def delete(self, conversation_id: ConversationId) -> None:
        await self._line.ask(ALL, lambda db: _delete(db, [conversation_id]))
        self._line.refused.pop(conversation_id, None)

    async def erase(self, user: str) -> Sequence[ConversationId]:
        def erase(db: Connection) -> list[ConversationId]:
            theirs = _ids(
                db.rows("SELECT id FROM sidetask_conversations WHERE user_id = ?", (user,))
            )
            _delete(db, theirs)
            db.run("DELETE FROM sidetask_state WHERE space = 'user' AND owner = ?", (user,))
            return theirs

        return await self._line.ask(ALL, erase)

    async def vacuum(
        self, older_than: float, *, conversations: bool = True, dry_run: bool = False
    ) -> Sequence[ConversationId]:
        found = await self._line.read(
            lambda db: db.rows(_UNTOUCHED + _AT_REST + _IN_ORDER, (older_than,))
        )
        old = _ids(found) if conversations else []
        if dry_run:
            return old
        gone: list[ConversationId] = []
        for start in range(0, len(old), _SLICE_OF_IDS):
            some = old[start : start + _SLICE_OF_IDS]
            gone += await self._line.ask(ALL, partial(self._forget, some, older_than))
            await asyncio.sleep(_PAUSE)
        for table, trim in _TRIM:
            after: str | None = ""
            while after is not None:
                end, trimmed = await self._line.ask(
                    None, partial(_trim, table, trim, older_than, after)
                )
                if trimmed:
                    await asyncio.sleep(_PAUSE)
                after = end
        return gone

    def _forget(
        self, some: Sequence[ConversationId], older_than: float, db: Connection
    ) -> list[ConversationId]:
        """Forget those of some conversations that are still old. In which somebody is writing, is
        not; and who begins to waits, so that the second look sees all that was written."""
        sql = _UNTOUCHED + _among(some)
        held = _ids(db.rows(sql + self._driver.skip_locked, (older_than, *some)))
        if not held:
            return []
        sql = _UNTOUCHED + _among(held) + _AT_REST + _IN_ORDER
        old = _ids(db.rows(sql, (older_than, *held)))
        _delete(db, old)
        return old


def _among(some: Sequence[ConversationId]) -> str:
    return f" AND c.id IN ({', '.join('?' * len(some))})"


def _trim(
    table: str, trim: str, older_than: float, after: str, db: Connection
) -> tuple[str | None, int]:
    """Forget rows of the conversations that come after one: of some, at least of one. Returns the
    last of them, None: there are no more; and how many rows it were."""
    found = db.rows(_END.format(table=table), (after, _SLICE_OF_ROWS))
    if not found:
        trimmed = db.run(trim + _AFTER, (older_than, after))
    else:
        trimmed = db.run(trim + _AFTER + _UP_TO, (older_than, after, found[0][0]))
    if trimmed:
        db.tell([ALL])
    return (found[0][0] if found else None), trimmed


def _save(db: Connection, rows: Sequence[Row]) -> None:
    db.run_each(_SAVE, rows)


def _delete(db: Connection, conversation_ids: Iterable[str]) -> None:
    rows = [(conversation_id,) for conversation_id in conversation_ids]
    for statement in _DELETE:
        db.run_each(statement, rows)
    if sum([db.run(_DELETE_JOBS, row) for row in rows]):
        db.tell([JOBS])  # who works on one of them


def _record(row: Row) -> ConversationRecord:
    conversation_id, agent, user, title, status, turns, created_at, updated_at = row
    return ConversationRecord(
        id=conversation_id,
        agent=agent,
        user=user,
        title=title,
        status=status,
        turns=turns,
        created_at=created_at,
        updated_at=updated_at,
    )


def _ids(rows: Iterable[Row]) -> list[ConversationId]:
    return [ConversationId(row[0]) for row in rows]
