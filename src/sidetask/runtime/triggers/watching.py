"""Triggers by what changes: the state, and files."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from os import PathLike, fspath
from typing import TypeAlias

from sidetask.core.errors import ConfigurationError, MissingExtraError
from sidetask.runtime.triggers.base import Then, Trigger, TriggerContext, act, check_then
from sidetask.state.state import StateView

FileChanges: TypeAlias = "AsyncIterator[set[tuple[str, str]]]"
"""Batches of (`added`, `modified` or `deleted`, path)."""
_LISTED = 50
"""Changes that one message lists."""


def on_state(
    guard: Callable[[StateView], object], then: Then, *, name: str = "on_state"
) -> Trigger:
    """Do something whenever the guard becomes true: once for each time, and once for those that
    come while it is being done. A guard is a condition of `sidetask.orchestration`, or any
    function of the state that only looks.

    Raises:
        ConfigurationError: No guard, or nothing to do.
    """
    if not callable(guard):
        raise ConfigurationError(f"on_state() waits for a guard, not {guard!r}")
    check_then(then, "on_state()")

    async def run(ctx: TriggerContext) -> None:
        was, rose = False, asyncio.Event()
        fault: Exception | None = None

        def look(_: object) -> None:
            nonlocal was, fault
            try:
                holds = bool(guard(ctx.state))
            except Exception as error:  # noqa: BLE001 - the one boundary: raised where it is told
                fault, holds, was = error, True, False
            if holds and not was:
                rose.set()
            was = holds

        watch = ctx.state.when(lambda _: True, look)  # in the write itself: no moment is missed
        look(None)
        try:
            while True:
                await rose.wait()
                rose.clear()
                if fault is not None:
                    raise fault
                await act(then, ctx)
        finally:
            watch.cancel()

    return Trigger(name, run)


def on_file_change(
    path: str | PathLike[str],
    then: Then,
    *,
    name: str = "on_file_change",
    watch: Callable[[str], FileChanges] | None = None,
) -> Trigger:
    """Do something when files at or below `path` change. The message lists the changes; what
    changes while it is being done is listed by the next. Needs the extra `triggers`.

    `watch` watches in the place of the library: an async iterator of batches for a path.

    Raises:
        ConfigurationError: Nothing to do.
        MissingExtraError: The extra is not installed.
    """
    where = fspath(path)
    check_then(then, f"on_file_change({where!r})")
    batches = watch or _library()

    async def run(ctx: TriggerContext) -> None:
        async for changes in batches(where):
            await act(then, ctx, listed(changes))

    return Trigger(name, run)


def listed(changes: Iterable[tuple[str, str]]) -> str:
    """Changes as lines of text: `modified notes/a.txt`."""
    lines = [f"{what} {_printable(path)}" for what, path in sorted(changes, key=lambda c: c[1])]
    if len(lines) > _LISTED:
        lines[_LISTED:] = [f"... and {len(lines) - _LISTED} more"]
    return "\n".join(lines)


def _printable(path: str) -> str:
    """A file's name cannot begin a line of its own."""
    return path if path.isprintable() else json.dumps(path)


def _library() -> Callable[[str], FileChanges]:
    try:
        from watchfiles import awatch  # noqa: PLC0415 # pyright: ignore[reportUnknownVariableType]
    except ImportError:
        raise MissingExtraError("on_file_change()", "triggers") from None

    async def watch(path: str) -> FileChanges:
        async for changes in awatch(path):
            yield {(change.name, where) for change, where in changes}

    return watch
