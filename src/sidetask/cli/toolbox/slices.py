"""Long work on files, without holding the event loop or a thread.

The work is a generator that tells its progress. It runs on a thread for a slice of time; between
two slices progress is told, and a cancellation takes effect.
"""

from collections.abc import Generator
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeAlias, TypeVar

from sidetask.tasks.aio.threads import shared
from sidetask.tasks.context import RunContext

T = TypeVar("T")

_SLICE = 0.1  # seconds

Told: TypeAlias = tuple[float | None, str]
Work: TypeAlias = Generator[Told, None, T]


@dataclass(frozen=True, slots=True)
class _Done(Generic[T]):
    value: T


async def in_slices(ctx: RunContext[object], work: Work[T]) -> T:
    """Run `work` to its end and return what it returns."""
    while True:
        step = await shared().run(_slice, work)
        if isinstance(step, _Done):
            return step.value
        await ctx.progress(*step)


def _slice(work: Work[T]) -> Told | _Done[T]:
    end = monotonic() + _SLICE
    try:
        while True:
            told = next(work)
            if monotonic() >= end:
                return told
    except StopIteration as stop:
        return _Done(stop.value)
