"""What `Members.forsaken` promises, in plain words: for stores in memory."""

from collections.abc import Collection, Sequence

from sidetask.core.ids import ConversationId
from sidetask.core.lifecycle import TaskStatus
from sidetask.runtime.keeping.notes import TURNS
from sidetask.stores.base import Store
from sidetask.stores.members import BELOW, HOME, STUCK, Forsaken
from sidetask.stores.queue import OVER
from sidetask.tasks.remote.values import ASKS
from sidetask.tasks.stored import APPROVALS, HOMES, ORDERS, RESULTS, TASKS

MANY = 10_000


async def forsaken(
    store: Store, living: Collection[str], agents: Collection[str]
) -> Sequence[Forsaken]:
    found: list[tuple[float, Forsaken]] = []
    for record in await store.conversations(limit=MANY):
        home = await store.get(HOMES, record.id, HOME)
        if home is None or home.status in {STUCK, BELOW, *living} or record.agent not in agents:
            continue
        if await has_to_do(store, record.id):
            told = Forsaken(conversation_id=record.id, agent=record.agent, had_by=home.status)
            found.append((home.at, told))
    return [each for _, each in sorted(found, key=lambda pair: pair[0])]


async def has_to_do(store: Store, key: ConversationId) -> bool:
    if await store.find(ORDERS, conversation_id=key, open=True):
        return True
    if await store.find(TURNS, conversation_id=key, open=True):
        return True
    if any(each.status == "loop" for each in await store.find(RESULTS, conversation_id=key)):
        return True
    asked = {
        each.value.task_id for each in await store.find(APPROVALS, conversation_id=key, open=True)
    }
    tasks = [each.value for each in await store.find(TASKS, conversation_id=key, open=True)]
    jobs = await store.queue.find(conversation_id=key, limit=MANY)
    out = {job.task_id for job in jobs if job.status not in OVER}
    waiting = {task.id for task in tasks if task.status is TaskStatus.AWAITING_APPROVAL}
    if any(task.id not in (asked if task.id in waiting else out) for task in tasks):
        return True
    job_of = {job.id: job.task_id for job in jobs}
    at_work = {task.id for task in tasks} - waiting
    return any(
        job_of.get(each.value.job_id) in at_work
        for each in await store.find(ASKS, conversation_id=key, open=True)
    )
