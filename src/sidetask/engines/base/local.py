"""Jobs that run where they are submitted: each is an asyncio task."""

import asyncio
import sys
from asyncio import current_task
from collections.abc import Awaitable, Callable, Collection, Generator
from threading import get_ident
from types import CoroutineType, coroutine
from typing import Any, TypeVar

from sidetask.core.errors import ConfigurationError, InvalidInputError
from sidetask.core.ids import TaskId
from sidetask.core.jsons import Json
from sidetask.engines.base.seam import Body, Context, Ended, Engine, JobSpec

T = TypeVar("T")

_MAY_NEST = sys.version_info >= (3, 12)
"""An asyncio task may begin inside of another one (an eager one); asyncio tells quickly which."""


class LocalEngine(Engine):
    """Runs each job as one asyncio task of the running loop."""

    def __init__(self) -> None:
        self.jobs: dict[str, LocalJob] = {}
        """Those whose work has not stopped, by id."""
        self._body: Body | None = None
        self._ended: Ended | None = None

    def start(self, body: Body, ended: Ended) -> None:
        self._body = body
        self._ended = ended

    def submit(self, spec: JobSpec) -> str:
        job_id = spec.id
        if job_id in self.jobs:
            return job_id
        if self._body is None:
            raise ConfigurationError("start the engine before the first submit")
        job = self.jobs[job_id] = self._job(spec)
        work = job.work = self._work(spec, job, self._body)
        work.send(None)  # see `_begin`
        # The name is the job's id: it shows in asyncio's own debug output.
        job.task = asyncio.get_running_loop().create_task(work, name=job_id)
        return job_id

    def _job(self, spec: JobSpec) -> "LocalJob":
        return LocalJob(spec.id)

    def cancel(self, job_id: str) -> bool:
        job = self.jobs.get(job_id)
        return job is not None and job.task is not None and job.task.cancel()

    def signal(self, job_id: str, topic: str, value: Json) -> None:
        job = self.jobs.get(job_id)
        if job is not None:
            job.hand(topic, value)

    async def result(self, job_id: str) -> None:
        job = self.jobs.get(job_id)
        if job is not None and job.task is not None:
            await asyncio.wait({job.task})

    def find(self) -> tuple[str, ...]:
        return tuple(self.jobs)

    async def vacuum(self, older_than: float, living: Collection[TaskId]) -> None:
        """It keeps nothing of its own."""

    async def close(self) -> None:
        for job_id in self.find():
            self.cancel(job_id)

    async def _work(self, spec: JobSpec, job: "LocalJob", body: Body) -> None:
        try:
            await _begin()
            await body(spec, job)
        except GeneratorExit:  # its event loop is gone, and with it whoever could be told
            raise
        except Exception as error:  # noqa: BLE001 - the one boundary: nobody awaits a job
            # Without the task itself: from Python 3.12 on its context would be entered, and this
            # runs in it.
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"the body of {spec.id} raised", "exception": error}
            )
        except BaseException:  # the one boundary: however it ends, that is told
            self._over(job)
            raise
        self._over(job)

    def _over(self, job: "LocalJob") -> None:
        del self.jobs[job.id]
        job.task = job.work = None  # else each would hold the other for the collector
        if self._ended is not None:
            self._ended(job.id)


@coroutine
def _begin() -> Generator[None]:
    """What each job waits for first. It is there already when it becomes an asyncio task: one that
    is cancelled before its first step runs nothing of a coroutine that has not begun, and nobody
    would hear of its end."""
    yield


class LocalJob(Context):
    """The context of one running job."""

    __slots__ = ("_thread", "_topics", "id", "task", "work")

    def __init__(self, job_id: str) -> None:
        self.id = job_id
        self.task: asyncio.Task[None] | None = None
        self.work: CoroutineType[Any, Any, None] | None = None
        """What the task runs."""
        self._thread = get_ident()
        self._topics: dict[str, asyncio.Future[Json]] | None = None

    def step(self, key: str, fn: Callable[..., Awaitable[T]], *args: object) -> Awaitable[T]:
        # No coroutine of its own: nothing is to be done when the step has ended. And before it
        # begins, whose code runs here is seen by the coroutine that is at work: up to Python 3.11
        # asyncio takes twice as long to tell as all the rest.
        work = self.work
        if _MAY_NEST or work is None or not work.cr_running or get_ident() != self._thread:
            self.check_own(key)
        return fn(*args)

    def check_own(self, key: str) -> None:
        """Refuse a step that another asyncio task than the job's own asks for."""
        if self.task is None or current_task() is not self.task:
            raise InvalidInputError(
                f"step {key!r} was called from another asyncio task than the tool's own: "
                "one step at a time; make parallel branches child tasks with ctx.spawn"
            )

    def replay(self) -> None:
        """Nothing is kept, so nothing was left."""

    async def wait(self, topic: str) -> Json:
        future = self._topic(topic)
        try:
            return await future
        finally:
            if self._topics is not None:
                self._topics.pop(topic, None)

    def hand(self, topic: str, value: Json) -> None:
        future = self._topic(topic)
        if not future.done():
            future.set_result(value)

    def _topic(self, topic: str) -> "asyncio.Future[Json]":
        if self._topics is None:
            self._topics = {}
        future = self._topics.get(topic)
        if future is None:
            future = self._topics[topic] = asyncio.get_running_loop().create_future()
        return future
