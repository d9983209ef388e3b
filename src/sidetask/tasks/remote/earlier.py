"""What an earlier process has sent out of a conversation that is taken up."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from sidetask.core.errors import CodecError
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.messages import ToolCall
from sidetask.stores.base import PAGE, Record, Store
from sidetask.stores.queue import Queue, StoredJob
from sidetask.tasks.elsewhere import Outside
from sidetask.tasks.remote.lookout import ALL, LIVING
from sidetask.tasks.remote.values import ASKS, Ask, order_from_json
from sidetask.tasks.stored import TASKS
from sidetask.tasks.values import TaskSnapshot


class Earlier:
    """Finds what is out, and ends what is out for nobody."""

    def __init__(self, store: Store, queue: Queue, cancel: Callable[[str, str], None]) -> None:
        """`cancel` asks for the end of a job, and says why."""
        self._store = store
        self._queue = queue
        self._cancel = cancel

    async def jobs(self, tasks: Sequence[TaskSnapshot]) -> Sequence[StoredJob]:
        """The jobs of these tasks."""
        found = [await self._queue.get(task.job) for task in tasks if task.job is not None]
        return [job for job in found if job is not None]

    async def outside(
        self, conversation_id: ConversationId, jobs: Sequence[StoredJob]
    ) -> Mapping[TaskId, Outside]:
        """What is known of these jobs, by their task."""
        answered = await self._answered(conversation_id)
        return {
            job.task_id: Outside(
                job_id=job.id, call=_call_of(job), answered=answered.get(job.task_id, Counter())
            )
            for job in jobs
        }

    async def end_orphans(
        self, conversation_id: ConversationId, tasks: Sequence[TaskSnapshot]
    ) -> None:
        """Cancel what is out for tasks that have ended: whoever ended them has died of it."""
        known = {task.job for task in tasks}
        out = await self._queue.find(conversation_id=conversation_id, statuses=LIVING, limit=ALL)
        for job in out:
            if job.id in known:
                continue
            task = await self._store.get(TASKS, conversation_id, job.task_id)
            if task is None or not task.open or task.value.job != job.id:
                self._cancel(job.id, "its task has ended")

    async def _answered(self, conversation_id: ConversationId) -> Mapping[str, Counter[str]]:
        """How often each task's questions were answered yes, by their reason."""
        found: dict[str, Counter[str]] = {}
        after: Record[Ask] | None = None
        while True:
            page = await self._store.find(
                ASKS, conversation_id=conversation_id, open=False, after=after
            )
            for asked in page:
                if asked.status == "approved":
                    task_id = asked.value.job_id.rpartition(":")[0]
                    found.setdefault(task_id, Counter())[asked.value.reason] += 1
            if len(page) < PAGE:
                return found
            after = page[-1]


def _call_of(job: StoredJob) -> ToolCall | None:
    try:
        return order_from_json(job.data).call
    except CodecError:  # of a newer release, which carries it out; only the outcome matters
        return None
