"""What a task waits for is told from the store; what is parked is put back."""

import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from sidetask.agents.quota.notes import GATES, ID, OF, GateNote
from sidetask.client import (
    Asking,
    AtHome,
    Client,
    ClosedGate,
    Ended,
    Held,
    Home,
    Parked,
    Queued,
    Running,
    Standing,
    Stopping,
    Untold,
)
from sidetask.core.errors import InvalidInputError, TaskNotFoundError
from sidetask.core.ids import CallId, ConversationId, TaskId
from sidetask.core.lifecycle import TaskStatus
from sidetask.stores.base import ConversationRecord, Record, Store
from sidetask.stores.members import BELOW, HOME, NOBODY, STUCK, Members
from sidetask.stores.opening import open_store
from sidetask.tasks.remote.values import ASKS, Ask
from sidetask.tasks.stored import HOMES, approval_record, result_record, task_record
from sidetask.tasks.stored import Home as StoredHome
from sidetask.tasks.values import Resolution, TaskSnapshot
from tests.client.rows import KEY, NOW, C, T, a_job, a_member, a_task, an_approval
from tests.stores.conftest import DATABASES, new_database, server
from tests.worker.harness import FakeMembers, SharedStore

__all__ = ["server"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["memory", *DATABASES])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Store]:
    match request.param:
        case "memory":
            store: Store = SharedStore()
        case "sqlite":
            store = open_store(f"sqlite:///{tmp_path / 'test.db'}")
            members: Members = FakeMembers(SharedStore())
            store.members = members
        case _:
            store = open_store(new_database(request.getfixturevalue("server")))
    await store.start()
    yield store
    await store.close()


@pytest.fixture
def client(store: Store) -> Client:
    return Client(store)


async def put(store: Store, task: TaskSnapshot) -> None:
    record = ConversationRecord(id=C, agent="clerk", user="ana", created_at=NOW, updated_at=NOW)
    store.save(record)
    store.put(task_record(task))
    await store.stored()


async def put_out(store: Store, task: TaskSnapshot | None = None) -> str:
    """A task that is sent out; returns the id of its job."""
    job = a_job()
    store.queue.enqueue(job)
    await put(store, replace(task or a_task(), job=job.id))
    return job.id


async def park(store: Store) -> str:
    job_id = await put_out(store)
    await store.queue.claim("worker-1", [KEY], limit=1)
    await store.queue.park(job_id, "worker-1", "claimed 3 times by workers that died")
    return job_id


async def test_what_is_unknown_is_said_so(client: Client) -> None:
    for ask in (client.why, client.retry):
        with pytest.raises(TaskNotFoundError, match="no task 'task-0'"):
            await ask("task-0")


@pytest.mark.parametrize("is_taken", [False, True])
async def test_one_that_has_ended_tells_whether_its_result_was_taken(
    store: Store, client: Client, is_taken: bool
) -> None:
    await put(store, a_task(TaskStatus.SUCCEEDED))
    resolution = Resolution(
        task_id=T,
        conversation_id=C,
        turn_id=None,
        call_ids=(CallId("call-1"),),
        name="report",
        status=TaskStatus.SUCCEEDED,
        content="done",
    )
    store.put(result_record(resolution, to_loop=True, at=NOW))
    if is_taken:
        await store.commit_turn(C, [], ack=[T])
    await store.stored()
    found = await client.why(T)
    assert isinstance(found, Ended)
    assert found.is_taken is is_taken


async def test_one_that_waits_for_a_person_names_its_questions(
    store: Store, client: Client
) -> None:
    await put(store, a_task(TaskStatus.AWAITING_APPROVAL))
    asked = an_approval()
    store.put(approval_record(asked))
    store.put(approval_record(replace(asked, id="approval-2", task_id="task-2")))
    await store.stored()
    found = await client.why(T)
    assert isinstance(found, Asking)
    assert found.approvals == (asked,)


async def test_one_without_a_permit_tells_how_many_of_its_name_run(
    store: Store, client: Client
) -> None:
    for n in (2, 3):
        await put(store, a_task(id=TaskId(f"task-{n}")))
    await put(store, a_task(id=TaskId("task-4"), name="other"))
    await put(store, a_task(TaskStatus.QUEUED, started_at=None))
    found = await client.why(T)
    assert isinstance(found, Held)
    assert (found.running, found.home, found.gates) == (2, Home(), ())


async def test_one_that_runs_at_home_tells_which_keys_are_parked(
    store: Store, client: Client
) -> None:
    await put(store, a_task())
    opens_at = time.time() + 3_600
    for key, at in (("abc", opens_at), ("def", time.time() - 60)):
        note = GateNote(opens_at=at, hits=1)
        gate = Record(
            kind=GATES,
            conversation_id=ConversationId(OF + key),
            id=ID,
            status="1",
            at=at,
            value=note,
        )
        assert await store.swap(gate, expect=None) is gate
    found = await client.why(T)
    assert isinstance(found, AtHome)
    assert found.gates == (ClosedGate(key="abc", opens_at=opens_at),)


async def test_one_in_the_queue_has_a_place_and_workers_that_know_it(
    store: Store, client: Client
) -> None:
    store.queue.enqueue(a_job(TaskId("task-0"), key="clerk/other"))
    await store.members.join(a_member("busy", tools={KEY: "f", "clerk/other": "f"}))
    await store.members.join(a_member("newer", tools={KEY: "g"}, draining=True))
    await store.members.join(a_member("stranger", tools={}))
    await store.stored()
    await store.queue.claim("busy", ["clerk/other"], limit=1)
    store.queue.enqueue(a_job(TaskId("task-2")))
    await put_out(store)
    found = await client.why(T)
    assert isinstance(found, Queued)
    assert (found.key, found.since, found.place) == (KEY, NOW, 1)
    assert [(each.member.id, each.running, each.is_full) for each in found.workers] == [
        ("busy", 1, True),
        ("newer", 0, False),
    ]
    assert found.others == ("newer",)


async def test_one_at_work_names_its_worker_what_that_notes_and_what_nobody_was_asked(
    store: Store, client: Client
) -> None:
    job_id = await put_out(store)
    worker = await store.members.join(a_member())
    await store.queue.claim("worker-1", [KEY], limit=1)
    store.queue.note(job_id, "worker-1", {"fraction": 0.5, "note": "half"})
    ask = Ask(job_id=job_id, reason="go on?")
    store.put(
        Record(kind=ASKS, conversation_id=C, id=f"{job_id}:1", status="open", at=NOW, value=ask)
    )
    await store.stored()
    found = await client.why(T)
    assert isinstance(found, Running)
    assert not isinstance(found, Stopping)
    assert (found.member, found.note, found.questions) == (worker.member, "half", ("go on?",))
    assert found.claims == 1
    assert [each.id for each in (await client.jobs([found.task])).values()] == [job_id]


async def test_one_whose_worker_has_died_names_nobody_that_lives(
    store: Store, client: Client
) -> None:
    await put_out(store)
    await store.queue.claim("dead", [KEY], limit=1)
    found = await client.why(T)
    assert isinstance(found, Running)
    assert (found.owner, found.member) == ("dead", None)


async def test_one_that_is_being_stopped_says_why(store: Store, client: Client) -> None:
    job_id = await put_out(store)
    await store.queue.claim("worker-1", [KEY], limit=1)
    await store.queue.cancel(job_id, "not needed")
    found = await client.why(T)
    assert isinstance(found, Stopping)
    assert (found.owner, found.reason) == ("worker-1", "not needed")


async def test_one_whose_end_nobody_has_heard_yet_says_so(store: Store, client: Client) -> None:
    job_id = await put_out(store)
    await client.cancel(T, "not needed", by="ana")
    ordered = (await client.why(T)).ordered
    assert ordered is not None
    assert (ordered.by, ordered.text) == ("ana", "not needed")
    await store.queue.claim("worker-1", [KEY], limit=1)
    await store.queue.finish(job_id, "worker-1", {"type": "completed"})
    found = await client.why(T)
    assert isinstance(found, Untold)
    assert found.ordered == ordered


async def test_what_is_parked_is_listed_and_put_back_once(store: Store, client: Client) -> None:
    job_id = await park(store)
    found = await client.why(T)
    assert isinstance(found, Parked)
    assert (found.claims, found.error) == (1, "claimed 3 times by workers that died")
    assert list(await client.parked()) == list(await client.parked(user="ana")) == [found]
    assert list(await client.parked(user="bob")) == []
    assert list(await client.parked(conversation_id="other")) == []
    await client.retry(T)
    job = await store.queue.get(job_id)
    assert job is not None
    assert (job.status, job.claims) == ("queued", 0)
    assert list(await client.parked()) == []
    with pytest.raises(InvalidInputError, match="is not parked: its job is queued"):
        await client.retry(T)


async def test_what_no_worker_has_or_is_over_cannot_be_put_back(
    store: Store, client: Client
) -> None:
    await put(store, a_task())
    with pytest.raises(InvalidInputError, match="it is running, and no worker's"):
        await client.retry(T)
    await put(store, a_task(TaskStatus.FAILED))
    with pytest.raises(InvalidInputError, match="it has ended, failed"):
        await client.retry(T)


@pytest.mark.parametrize("status", ["home-1", "dead", NOBODY, STUCK, BELOW])
async def test_who_has_its_conversation_open_is_told(
    store: Store, client: Client, status: str
) -> None:
    member = (await store.members.join(a_member("home-1", role="home"))).member
    await put(store, a_task())
    home = Record(kind=HOMES, conversation_id=C, id=HOME, status=status, at=NOW, value=StoredHome())
    assert await store.swap(home, expect=None) is home
    told = {
        "home-1": Home(member=member, standing=Standing.OPEN),
        STUCK: Home(standing=Standing.STUCK),
        BELOW: Home(standing=Standing.BELOW),
    }
    assert (await client.why(T)).home == told.get(status, Home(standing=Standing.NOWHERE))


async def test_the_workers_are_those_that_live(store: Store, client: Client) -> None:
    await store.members.join(a_member("home-1", role="home"))
    worker = await store.members.join(a_member())
    await put_out(store)
    await store.queue.claim("worker-1", [KEY], limit=1)
    [found] = await client.workers()
    assert (found.member, found.running, found.is_full) == (worker.member, 1, True)
    await worker.leave()
    assert list(await client.workers()) == []
