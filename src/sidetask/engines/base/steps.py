"""Jobs that remember their finished steps.

A job is an asyncio task, as in memory, and runs in this process only. What its steps returned is
written to a journal before the job goes on; a later attempt of the task, in this process or in
the next one, reads it there. Which tasks there were, and which of them run again, is known one
floor up.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar, cast

from sidetask.core.jsons import Json
from sidetask.engines.base.local import LocalEngine, LocalJob
from sidetask.engines.base.seam import JobSpec

T = TypeVar("T")


class StepJournal(Protocol):
    """Where finished steps are kept."""

    async def read(self, spec: JobSpec, key: str) -> "tuple[Json] | None":
        """What the step returned, in a tuple of its own; None: it has not finished."""
        ...

    async def write(self, spec: JobSpec, key: str, value: object) -> Json:
        """Keep what a step returned. When this returns it is safe; returns it as JSON has it.

        Raises:
            InvalidInputError: It is not JSON.
            StoreError: It could not be kept.
        """
        ...


class JournalingEngine(LocalEngine):
    """Runs each job as one asyncio task of the running loop, and journals its steps."""

    def __init__(self, journal: StepJournal) -> None:
        super().__init__()
        self._journal = journal

    def _job(self, spec: JobSpec) -> LocalJob:
        return JournalingJob(spec, self._journal) if spec.journal else LocalJob(spec.id)


class JournalingJob(LocalJob):
    """The context of one running job."""

    __slots__ = ("_counts", "_journal", "_replays", "_spec")

    def __init__(self, spec: JobSpec, journal: StepJournal) -> None:
        super().__init__(spec.id)
        self._spec = spec
        self._journal = journal
        self._replays = spec.replays
        self._counts: dict[str, int] = {}

    def replay(self) -> None:
        self._replays = True

    async def step(self, key: str, fn: Callable[..., Awaitable[T]], *args: object) -> T:
        self.check_own(key)
        before = self._counts.get(key, 0)
        self._counts[key] = before + 1
        place = f"{key}#{before}"
        if self._replays:
            # Looked up to the end, and not up to the first that is missing: a step that raised
            # is not kept, and those after it are.
            kept = await self._journal.read(self._spec, place)
            if kept is not None:
                return cast("T", kept[0])
        result = cast("Any", await fn(*args))
        return cast("T", await self._journal.write(self._spec, place, result))
