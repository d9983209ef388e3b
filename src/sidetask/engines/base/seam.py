"""The seam between tasks and whatever makes them durable.

A job is one attempt of a task: a registered name with JSON arguments, never a closure. The
engine calls the one body it was started with, `body(spec, context)`. What every engine
promises, tested for each by `tests/engines/test_contract.py`:

* `submit` is idempotent by `spec.id`: submitted twice, it runs once.
* `ended(spec.id)` is called exactly once for each submitted job, when its work has stopped:
  returned, raised, cancelled, or cancelled before its first step.
* A finished `step` is never run again; a second `step` at the same time is refused. Where the
  engine is durable that holds for the task: in its next attempt, and in the next process.
"""

from collections.abc import Awaitable, Callable, Collection
from types import CoroutineType
from typing import Any, Protocol, TypeAlias, TypeVar

from sidetask.core.ids import ConversationId, TaskId, value
from sidetask.core.jsons import Json

T = TypeVar("T")


@value
class JobSpec:
    """One attempt of a task, as values."""

    id: str
    task_id: TaskId
    attempt: int
    name: str
    arguments: str
    conversation_id: ConversationId = ConversationId("")
    journal: bool = True
    """False: its steps are not worth recording."""
    replays: bool = False
    """An earlier attempt, or process, may have left finished steps of its task."""


@value(kw_only=True)
class Capabilities:
    """What an engine can do beyond running jobs."""

    durable: bool
    """Jobs survive the end of the process."""
    distributed: bool
    """Jobs may run in another process."""


class Context(Protocol):
    """What a job's body may ask of its engine."""

    id: str

    def step(self, key: str, fn: Callable[..., Awaitable[T]], *args: object) -> Awaitable[T]:
        """Run `await fn(*args)` once for `key`; after a restart give its stored result. The
        second step of a key is another one than the first.

        Raises:
            InvalidInputError: Another asyncio task than the job's own asks.
        """
        ...

    def replay(self) -> None:
        """Another process has begun this very job, and may have left finished steps of it."""
        ...

    async def wait(self, topic: str) -> Json:
        """Wait for a `signal` on this topic and return its value."""
        ...


Body: TypeAlias = "Callable[[JobSpec, Context], CoroutineType[Any, Any, None]]"
Ended: TypeAlias = Callable[[str], None]


class Engine(Protocol):
    """Runs jobs."""

    capabilities: Capabilities

    def start(self, body: Body, ended: Ended) -> None:
        """Take the body of all jobs. Called once, before the first `submit`."""
        ...

    def submit(self, spec: JobSpec) -> str:
        """Start a job soon and return its id. It runs no code before this returns."""
        ...

    def cancel(self, job_id: str) -> bool:
        """Ask a job to stop; False if there is nothing to stop."""
        ...

    def signal(self, job_id: str, topic: str, value: Json) -> None:
        """Hand a value to a job that waits for this topic, now or later."""
        ...

    async def result(self, job_id: str) -> None:
        """Return when the job's work has stopped; at once for an unknown one."""
        ...

    def find(self) -> tuple[str, ...]:
        """The ids of all jobs whose work has not stopped."""
        ...

    async def vacuum(self, older_than: float, living: Collection[TaskId]) -> None:
        """Forget what was kept of jobs that are over since then, in seconds since the epoch, and
        whose tasks are not among the `living`."""
        ...

    async def close(self) -> None:
        """Cancel what runs. Does not wait for work that will not stop."""
        ...
