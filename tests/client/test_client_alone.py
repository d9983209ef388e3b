"""What a client finds, says and refuses where nobody has a conversation open: in memory."""

import time
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sidetask.client import AtHome, Client
from sidetask.client.approvals import StoredApproval
from sidetask.core.errors import (
    AlreadyDecidedError,
    ApprovalNotFoundError,
    ConfigurationError,
    ConversationNotFoundError,
    InvalidInputError,
    StoreClosedError,
    TaskNotFoundError,
)
from sidetask.core.ids import ApprovalId, TaskId
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.messages import ToolCall, user_message
from sidetask.stores.base import Record
from sidetask.stores.members import HOME, NOBODY
from sidetask.stores.memory import MemoryStore
from sidetask.stores.memory.queue import MemoryQueue
from sidetask.stores.opening import open_store
from sidetask.stores.queue import StoredJob
from sidetask.tasks.parts.asking import IN_BODY
from sidetask.tasks.stored import (
    APPROVALS,
    HOMES,
    ORDERS,
    Order,
    approval_record,
    task_record,
)
from sidetask.tasks.values import Decision
from tests.client.rows import KEY, C, T, a_job, a_task, an_approval
from tests.stores.samples import D, conversation, entry, fact

K = TypeVar("K")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def client(store: MemoryStore) -> Client:
    return Client(store)


def is_now(at: float) -> bool:
    """Give or take what a machine's clock may be set by."""
    return abs(at - time.time()) < 3_600


async def orders(store: MemoryStore) -> list[tuple[str, Order]]:
    return [(each.conversation_id, each.value) for each in await store.find(ORDERS, open=True)]


# -- which store -------------------------------------------------------------------------------


def test_what_is_in_the_memory_of_another_process_cannot_be_seen() -> None:
    with pytest.raises(InvalidInputError, match="give a URL"):
        Client("memory:")


async def test_a_store_that_is_handed_in_stays_open_and_one_that_is_named_does_not(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    mine = open_store(url)
    async with Client(mine) as client:
        assert await client.conversations() == []
    assert await mine.conversations() == []
    await mine.close()
    async with Client(url) as client:
        assert await client.conversations() == []
    with pytest.raises(StoreClosedError):
        await client.conversations()


async def test_entering_finds_out_whether_the_store_can_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no folder"):
        async with Client(f"sqlite:///{tmp_path / 'nowhere' / 'test.db'}"):
            pass


# -- looking -----------------------------------------------------------------------------------


async def test_conversations_are_found_page_by_page_and_by_user(
    store: MemoryStore, client: Client
) -> None:
    for n in range(4):
        store.save(conversation(f"c{n}", user="ana" if n % 2 else "bob", at=float(n)))
    first = await client.conversations(limit=2)
    assert [each.id for each in first] == ["c3", "c2"]
    rest = await client.conversations(after=first[-1])
    assert [each.id for each in rest] == ["c1", "c0"]
    assert [each.id for each in await client.conversations(user="ana")] == ["c3", "c1"]
    assert (await client.conversation("c1")).user == "ana"
    with pytest.raises(ConversationNotFoundError, match="c9"):
        await client.conversation("c9")


async def test_messages_and_events_are_read_from_a_place_on(
    store: MemoryStore, client: Client
) -> None:
    said = [user_message("one"), user_message("two")]
    await store.commit_turn(C, said)
    assert list(await client.history(C)) == said
    assert list(await client.history(C, start=1)) == said[1:]
    store.append(fact(1, C))
    store.append(fact(2, C))
    async with client.events(C) as events:
        assert [(await anext(events)).seq, (await anext(events)).seq] == [1, 2]
    async with client.events(C, after=1) as events:
        assert (await anext(events)).seq == 2


async def test_the_state_is_that_of_the_conversation_its_user_and_all(
    store: MemoryStore, client: Client
) -> None:
    store.save_state(C, [entry("mine", 1), entry("gone", 2, deleted=True)], user="ana")
    store.save_state(C, [entry("user:theirs", 3), entry("app:all", 4)], user="ana")
    assert await client.state(C) == {"mine": 1, "app:all": 4}, "it has no user"
    store.save(conversation(C, user="ana"))
    assert await client.state(C) == {"mine": 1, "user:theirs": 3, "app:all": 4}


async def test_tasks_are_open_closed_or_all_of_a_conversation_or_a_user(
    store: MemoryStore, client: Client
) -> None:
    store.save(conversation(C, user="ana"))
    running, over = a_task(), a_task(TaskStatus.FAILED, id=TaskId("task-2"))
    others = a_task(id=TaskId("task-3"), conversation_id=D)
    for each in (running, over, others):
        store.put(task_record(each))

    async def found(**which: Any) -> list[str]:
        return [each.id for each in await client.tasks(**which)]

    assert await found() == ["task-1", "task-3"]
    assert await found(status="closed") == ["task-2"]
    assert await found(status=None) == ["task-1", "task-2", "task-3"]
    assert await found(conversation_id=D) == ["task-3"]
    assert await found(user="ana", status=None) == ["task-1", "task-2"]
    assert await found(after=running, status=None, limit=1) == ["task-2"]
    with pytest.raises(InvalidInputError, match="status is 'open', 'closed' or None, not 'all'"):
        await found(status="all")
    assert await client.task("task-2") == over
    with pytest.raises(TaskNotFoundError, match="task-9"):
        await client.task("task-9")


async def test_questions_are_open_or_decided_of_a_conversation_or_a_user(
    store: MemoryStore, client: Client
) -> None:
    store.save(conversation(C, user="ana"))
    decided = an_approval(
        id=ApprovalId("decided"), decision=Decision.DENIED, decided_by="ana", decided_at=1.0
    )
    others = an_approval(id=ApprovalId("others"), conversation_id=D)
    for each in (an_approval(), decided, others):
        store.put(approval_record(each))

    async def found(**which: Any) -> list[str]:
        return [each.id for each in await client.approvals(**which)]

    assert await found() == ["approval-1", "others"]
    assert await found(status="closed") == ["decided"]
    assert await found(status=None, user="ana") == ["approval-1", "decided"]
    assert await found(conversation_id=D) == ["others"]
    assert await found(limit=1) == ["approval-1"]
    assert (await client.approval("others")).conversation_id == D
    for ask in (client.approval("none"), client.deny("none", by="ana")):
        with pytest.raises(ApprovalNotFoundError, match="none"):
            await ask


# -- deciding ----------------------------------------------------------------------------------


@pytest.fixture
def asked(store: MemoryStore) -> StoredApproval:
    value = an_approval(metadata={"usd": 5})
    store.put(approval_record(value))
    return StoredApproval(value, store)


async def stored(store: MemoryStore) -> Any:
    found = await store.get(APPROVALS, C, "approval-1")
    assert found is not None
    return found.value


def test_a_question_shows_what_would_be_done(asked: StoredApproval) -> None:
    assert (asked.id, asked.task_id, asked.conversation_id) == ("approval-1", T, C)
    assert (asked.tool, asked.arguments) == ("report", {"month": "May"})
    assert (asked.reason, asked.summary) == ("it costs money", "report(month='May')")
    assert asked.metadata == {"usd": 5}
    assert asked.is_open


async def test_a_yes_is_entered_once_with_who_when_and_why(
    store: MemoryStore, client: Client, asked: StoredApproval
) -> None:
    decided = await client.approve("approval-1", by="ana", note="ok")
    value = await stored(store)
    assert decided.value == value
    assert (value.decision, value.decided_by, value.note) == (Decision.APPROVED, "ana", "ok")
    assert is_now(value.decided_at)
    assert (value.call, value.digest) == (asked.value.call, asked.value.digest)
    assert not decided.is_open
    for late in (asked, decided, await client.approval("approval-1")):
        with pytest.raises(AlreadyDecidedError, match="by ana"):
            await late.deny("no", by="bob")
    assert await stored(store) == value


async def test_a_no_has_a_reason_for_the_model(
    store: MemoryStore, client: Client, asked: StoredApproval
) -> None:
    await client.deny("approval-1", "too dear", by="bob")
    value = await stored(store)
    assert (value.decision, value.decided_by, value.note) == (Decision.DENIED, "bob", "too dear")
    assert (value.call, value.digest) == (asked.value.call, asked.value.digest)


async def test_other_arguments_are_the_only_ones_approved(
    store: MemoryStore, client: Client, asked: StoredApproval
) -> None:
    await client.approve("approval-1", by="ana", arguments={"month": "June"})
    value = await stored(store)
    changed = ToolCall.make("report", {"month": "June"}, id=asked.value.call.id)
    assert (value.call, value.digest) == (changed, changed.digest())


async def test_nobody_decides_anonymously(store: MemoryStore, asked: StoredApproval) -> None:
    with pytest.raises(InvalidInputError, match="say who decides"):
        await asked.approve(by="")
    assert (await stored(store)).decision is Decision.OPEN


async def test_a_tool_that_runs_goes_on_with_the_arguments_that_it_has(
    store: MemoryStore,
) -> None:
    call = ToolCall.make("report", {"month": "May"}, id="call-1")
    value = an_approval(kind=IN_BODY, call=call, digest=call.digest())
    store.put(approval_record(value))
    asked = StoredApproval(value, store)
    with pytest.raises(InvalidInputError, match="is running with its arguments"):
        await asked.approve(by="ana", arguments={"month": "June"})
    assert (await stored(store)).decision is Decision.OPEN
    await asked.approve(by="ana", arguments={"month": "May"})
    assert (await stored(store)).decision is Decision.APPROVED


# -- steering ----------------------------------------------------------------------------------


async def test_what_is_to_become_of_a_task_is_written_down(
    store: MemoryStore, client: Client
) -> None:
    store.put(task_record(a_task()))
    await client.cancel(T, "not needed", by="ana")
    await client.detach(T, by="bob")
    assert await orders(store) == [
        (C, Order(kind="cancel", by="ana", task_id=T, text="not needed")),
        (C, Order(kind="detach", by="bob", task_id=T)),
    ]
    assert all(is_now(each.at) for each in await store.find(ORDERS))
    for ask in (client.cancel("none"), client.detach("none"), client.retry("none")):
        with pytest.raises(TaskNotFoundError, match="none"):
            await ask


async def test_what_is_said_is_written_down_once_for_each_request(
    store: MemoryStore, client: Client
) -> None:
    store.save(conversation(C))
    await client.send(C, "one", by="ana")
    await client.send(C, "one", by="ana")
    await client.send(C, "two", client_request_id="two")
    await client.send(C, "again", client_request_id="two")
    told = [(each.text, each.by, each.kind) for _, each in await orders(store)]
    assert told == [("one", "ana", "send"), ("one", "ana", "send"), ("two", "", "send")]


async def test_what_cannot_be_said_is_refused_before_it_is_written(
    store: MemoryStore, client: Client
) -> None:
    with pytest.raises(ConversationNotFoundError, match=C):
        await client.send(C, "hello?")
    store.save(conversation(C))
    with pytest.raises(InvalidInputError):
        await client.send(C, " ")
    with pytest.raises(ConfigurationError, match="takes part in no transaction"):
        await client.send(C, "hello", tx=object())
    assert await orders(store) == []


class DeletedMeanwhile(MemoryStore):
    """Somebody deletes a conversation when it was found, and before anything is said in it."""

    async def swap(self, record: Record[K], *, expect: str | None) -> Record[K] | None:
        await self.delete(record.conversation_id)
        return await super().swap(record, expect=expect)


async def test_who_speaks_in_what_somebody_deletes_is_told_that_nobody_hears_it() -> None:
    store = DeletedMeanwhile()
    store.save(conversation(C))
    with pytest.raises(ConversationNotFoundError, match=C):
        await Client(store).send(C, "hello?")
    assert await store.find(ORDERS, open=True) == []


async def test_a_conversation_is_begun_once_and_waits_for_somebody_to_take_it_up(
    store: MemoryStore, client: Client
) -> None:
    key = await client.begin("clerk", user="ana", conversation_id="mine")
    found = await client.conversation(key)
    assert (found.id, found.agent, found.user) == ("mine", "clerk", "ana")
    assert found.created_at == found.updated_at
    assert is_now(found.created_at)
    home = await store.get(HOMES, key, HOME)
    assert home is not None
    assert (home.status, home.value.adopted) == (NOBODY, False)
    with pytest.raises(InvalidInputError, match="there is a conversation 'mine': send to it"):
        await client.begin("clerk", conversation_id="mine")
    assert {await client.begin("clerk"), await client.begin("clerk"), key} == {
        each.id for each in await client.conversations()
    }
    with pytest.raises(InvalidInputError, match="say with which agent"):
        await client.begin("")
    store.save(conversation("opened"))
    with pytest.raises(InvalidInputError, match="send to it"):
        await client.begin("clerk", conversation_id="opened")
    await store.delete(key)
    assert await store.swap(home, expect=None) is home
    with pytest.raises(InvalidInputError, match="send to it"):  # somebody is about to begin it
        await client.begin("clerk", conversation_id="mine")


class Raced(MemoryQueue):
    """Another one has put a parked job back, or deleted it, when this one has found it parked."""

    is_deleted = False

    async def retry(self, job_id: str) -> StoredJob | None:
        if self.is_deleted:
            return None
        await super().retry(job_id)
        await self.claim("worker-2", [KEY], limit=1)
        await self.finish(job_id, "worker-2", {})
        return await self.get(job_id)


async def parked(store: MemoryStore) -> None:
    store.queue.enqueue(a_job())
    store.put(task_record(a_task(job=f"{T}:1")))
    await store.queue.claim("worker-1", [KEY], limit=1)
    await store.queue.park(f"{T}:1", "worker-1", "died")


async def test_a_parked_task_is_put_back(store: MemoryStore, client: Client) -> None:
    await parked(store)
    await client.retry(T)
    assert [each.status for each in await store.queue.find()] == ["queued"]
    with pytest.raises(InvalidInputError, match="its job is queued"):
        await client.retry(T)


async def test_a_parked_task_with_which_others_were_quicker_is_told_as_it_is(
    store: MemoryStore, client: Client
) -> None:
    store.queue = queue = Raced()
    await parked(store)
    queue.is_deleted = True
    with pytest.raises(TaskNotFoundError):
        await client.retry(T)
    queue.is_deleted = False
    with pytest.raises(InvalidInputError, match="its job is ended"):
        await client.retry(T)


async def test_what_is_over_or_nobodys_is_not_put_back(store: MemoryStore, client: Client) -> None:
    store.put(task_record(a_task()))
    store.put(task_record(a_task(TaskStatus.FAILED, id=TaskId("over"))))
    store.put(task_record(a_task(id=TaskId("lost"), job="lost:1")))
    with pytest.raises(InvalidInputError, match="it is running, and no worker's"):
        await client.retry(T)
    with pytest.raises(InvalidInputError, match="it has ended, failed"):
        await client.retry("over")
    with pytest.raises(InvalidInputError, match="no worker's"):
        await client.retry("lost")


class Plain(MemoryStore):
    """A store of an application's own, of before there were workers."""

    def __init__(self) -> None:
        super().__init__()
        del self.queue, self.members


async def test_a_store_that_knows_of_no_workers_is_looked_into_all_the_same() -> None:
    store = Plain()
    client = Client(store)
    store.put(task_record(a_task(job=f"{T}:1")))
    assert list(await client.parked()) == list(await client.workers()) == []
    assert isinstance(await client.why(T), AtHome)
    assert await client.jobs([a_task(job=f"{T}:1")]) == {}
    with pytest.raises(InvalidInputError, match="no worker's"):
        await client.retry(T)
