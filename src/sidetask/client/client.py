"""Looking into a store, and steering what runs by it, with no code of an agent loaded.

What is asked of a conversation is written down. Whoever has it open does it at once; where nobody
has, a worker that takes it up, or whoever resumes it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from time import time
from typing import Literal, Self
from uuid import uuid4

from sidetask.client.approvals import StoredApproval
from sidetask.client.looking import Looking, id_of
from sidetask.core.errors import (
    ApprovalNotFoundError,
    ConfigurationError,
    ConversationNotFoundError,
    InvalidInputError,
    TaskNotFoundError,
)
from sidetask.core.events import Event
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.jsons import Json, JsonObject
from sidetask.core.lifecycle import TERMINAL
from sidetask.core.messages import Message, user_message
from sidetask.stores.base import PAGE, ConversationRecord, Joining, Record, Store, follow
from sidetask.stores.members import HOME, NOBODY
from sidetask.stores.opening import given_store
from sidetask.stores.queue import OVER
from sidetask.tasks.stored import (
    APPROVALS,
    HOMES,
    ORDERS,
    TASKS,
    Home,
    Order,
    OrderKind,
    task_record,
)
from sidetask.tasks.values import TaskSnapshot

Which = Literal["open", "closed"] | None


class Client(Looking):
    """One store: `async with Client("sqlite:///sidetask.db") as client`."""

    def __init__(self, store: str | Store) -> None:
        """`store`: its URL, or a store that its owner closes.

        Raises:
            ConfigurationError: There is no such sort of store, or it forgets at exit.
            MissingExtraError: Its library is not installed.
        """
        self._store = given_store(store)
        self._owns = isinstance(store, str)
        if self._owns and not self._store.durable:
            raise InvalidInputError(f"{store!r} is in the memory of another process: give a URL")

    async def __aenter__(self) -> Self:
        await self._store.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._owns:
            await self._store.close()

    # -- look -----------------------------------------------------------------------------------

    async def conversations(
        self,
        *,
        user: str | None = None,
        after: ConversationRecord | None = None,
        limit: int = PAGE,
    ) -> Sequence[ConversationRecord]:
        """Conversations, the last touched first. `after`: the last one of the page before."""
        return await self._store.conversations(user=user, after=after, limit=limit)

    async def conversation(self, conversation_id: str) -> ConversationRecord:
        """One conversation.

        Raises:
            ConversationNotFoundError: The store has none of this id.
        """
        found = await self._store.conversation(ConversationId(conversation_id))
        if found is None:
            raise ConversationNotFoundError(conversation_id)
        return found

    async def history(self, conversation_id: str, *, start: int = 0) -> Sequence[Message]:
        """The messages of a conversation, from place `start` on."""
        return await self._store.history(ConversationId(conversation_id), start=start)

    async def state(self, conversation_id: str) -> Mapping[str, Json]:
        """What a conversation's tools share: its own keys, its user's and those of all."""
        record = await self._store.conversation(ConversationId(conversation_id))
        entries = await self._store.load_state(
            ConversationId(conversation_id), user=None if record is None else record.user
        )
        return {entry.key: entry.value for entry in entries if not entry.deleted}

    async def tasks(
        self,
        *,
        conversation_id: str | None = None,
        user: str | None = None,
        status: Which = "open",
        after: TaskSnapshot | None = None,
        limit: int = PAGE,
    ) -> Sequence[TaskSnapshot]:
        """Background tasks, and those that wait for a person, by creation: open (they have not
        ended), closed, or all (None)."""
        found = await self._store.find(
            TASKS,
            conversation_id=id_of(conversation_id),
            user=user,
            open=_is_open(status),
            after=None if after is None else task_record(after),
            limit=limit,
        )
        return [each.value for each in found]

    async def approvals(
        self,
        *,
        conversation_id: str | None = None,
        user: str | None = None,
        status: Which = "open",
        limit: int = PAGE,
    ) -> Sequence[StoredApproval]:
        """What waits for a person's decision, oldest first; or was decided; or both (None)."""
        found = await self._store.find(
            APPROVALS,
            conversation_id=id_of(conversation_id),
            user=user,
            open=_is_open(status),
            limit=limit,
        )
        return [StoredApproval(each.value, self._store) for each in found]

    async def approval(self, approval_id: str) -> StoredApproval:
        """One question.

        Raises:
            ApprovalNotFoundError: The store has none of this id.
        """
        found = await self._store.find(APPROVALS, id=approval_id, limit=1)
        if not found:
            raise ApprovalNotFoundError(approval_id)
        return StoredApproval(found[0].value, self._store)

    def events(
        self, conversation_id: str, *, after: int = 0
    ) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """The facts of a conversation after number `after`, and those that come: `async with
        client.events(id) as events: async for event in events`."""
        return follow(self._store, ConversationId(conversation_id), after=after)

    # -- steer ----------------------------------------------------------------------------------

    async def approve(
        self,
        approval_id: str,
        *,
        by: str,
        note: str | None = None,
        arguments: JsonObject | None = None,
    ) -> StoredApproval:
        """Say yes. See `StoredApproval.approve`.

        Raises:
            ApprovalNotFoundError: The store has none of this id.
            AlreadyDecidedError: It was decided before; tells by whom and when.
            InvalidInputError: `by` is empty, or the arguments cannot be changed any more.
        """
        asked = await self.approval(approval_id)
        return await asked.approve(by=by, note=note, arguments=arguments)

    async def deny(self, approval_id: str, reason: str | None = None, *, by: str) -> StoredApproval:
        """Say no; the model is told the reason. Raises as `approve` does."""
        return await (await self.approval(approval_id)).deny(reason, by=by)

    async def cancel(self, task_id: str, reason: str = "", *, by: str = "") -> None:
        """Ask for the end of a task.

        Raises:
            TaskNotFoundError: The store has none of this id.
        """
        await self._order_for(task_id, "cancel", reason, by)

    async def detach(self, task_id: str, *, by: str = "") -> None:
        """Ask that no turn waits for a task any more.

        Raises:
            TaskNotFoundError: The store has none of this id. A call that its turn waits for is
                in the store only while it waits for a person.
        """
        await self._order_for(task_id, "detach", "", by)

    async def retry(self, task_id: str) -> None:
        """Let workers try a parked task again, as if none had before.

        Raises:
            TaskNotFoundError: The store has none of this id.
            InvalidInputError: It is not parked; says what it is.
        """
        task = await self.task(task_id)
        if task.status in TERMINAL:
            raise InvalidInputError(f"{task_id} is not parked: it has ended, {task.status}")
        queue, job = self._queue, await self._job(task)
        if queue is None or job is None:
            raise InvalidInputError(
                f"{task_id} is not parked: it is {task.status}, and no worker's to carry out"
            )
        if job.status == "parked":
            stands = await queue.retry(job.id)
            if stands is None:  # deleted in this moment
                raise TaskNotFoundError(task_id)
            if stands.status not in OVER:
                return
            job = stands
        raise InvalidInputError(f"{task_id} is not parked: its job is {job.status}")

    async def begin(
        self, agent: str, *, user: str | None = None, conversation_id: str | None = None
    ) -> ConversationId:
        """Make a conversation with the agent that is registered under this name, and return its id:
        where `send` speaks, and which a worker takes up, or whoever resumes it.

        Raises:
            InvalidInputError: There is one of this id, or the name of the agent is empty.
        """
        if not agent:
            raise InvalidInputError("say with which agent: the name that it is registered under")
        key, at = ConversationId(conversation_id or f"conversation-{uuid4().hex}"), time()
        home = Record(kind=HOMES, conversation_id=key, id=HOME, status=NOBODY, at=at, value=Home())
        is_there = await self._store.conversation(key) is not None
        if is_there or await self._store.swap(home, expect=None) is not home:
            raise InvalidInputError(f"there is a conversation {key!r}: send to it")
        self._store.save(
            ConversationRecord(id=key, agent=agent, user=user, created_at=at, updated_at=at)
        )
        await self._store.stored()
        return key

    async def send(
        self,
        conversation_id: str,
        text: str,
        *,
        by: str = "",
        client_request_id: str | None = None,
        tx: object = None,
    ) -> None:
        """Say something in a conversation: it joins the running turn, or begins one.

        The same `client_request_id` again says nothing more. `tx`: a connection or cursor of your
        own on the store's database (psycopg, async or not; sqlite3): what is said is part of its
        transaction, is heard when you commit it, and was never said when you roll it back.

        Raises:
            ConversationNotFoundError: The store has none of this id.
            InvalidInputError: There is nothing in it.
            ConfigurationError: `tx` is something else, or in autocommit mode, or of another
                database.
        """
        user_message(text)  # refused before it is written
        order = Order(kind="send", by=by, text=text)
        record = _order_record(ConversationId(conversation_id), order, client_request_id)
        if tx is None:
            await self.conversation(conversation_id)
            await self._store.swap(record, expect=None)
            await _see_that_it_stays(self._store, record)
        elif isinstance(self._store, Joining):
            await self._store.claim_within(tx, record)
        else:
            raise ConfigurationError("this store takes part in no transaction of yours: leave tx=")

    async def _order_for(self, task_id: str, kind: OrderKind, text: str, by: str) -> None:
        task = await self.task(task_id)
        order = Order(kind=kind, by=by, task_id=TaskId(task_id), text=text)
        await self._order(task.conversation_id, order)

    async def _order(self, conversation_id: ConversationId, order: Order) -> None:
        self._store.put(_order_record(conversation_id, order))
        await self._store.stored()


async def _see_that_it_stays(store: Store, said: Record[Order]) -> None:
    """Somebody may have deleted the conversation since it was looked for."""
    if await store.conversation(said.conversation_id) is None:
        store.put(replace(said, status="done"))
        await store.stored()
        raise ConversationNotFoundError(said.conversation_id)


def _is_open(status: Which) -> bool | None:
    if status not in ("open", "closed", None):
        raise InvalidInputError(f"status is 'open', 'closed' or None, not {status!r}")
    return None if status is None else status == "open"


def _order_record(
    conversation_id: ConversationId, order: Order, id: str | None = None
) -> Record[Order]:
    return Record(
        kind=ORDERS,
        conversation_id=conversation_id,
        id=id or uuid4().hex,
        status="open",
        at=time(),
        value=order,
    )
