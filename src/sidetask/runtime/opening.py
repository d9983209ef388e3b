"""The moment between asking for a live agent and having it: `await`, `async with` or `with`."""

from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from sidetask.runtime.handle import AgentHandle
from sidetask.runtime.sync import SyncHandle
from sidetask.tasks.aio.spawn import run_to_end

CLEANUP = 30.0
"""Seconds that a runtime may take to close whose agent could not be opened."""

Start: TypeAlias = Callable[[], Coroutine[Any, Any, AgentHandle]]
Closing: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class Opening:
    """A live agent that is about to be opened: await it, or enter it."""

    def __init__(self, start: Start, *, also_close: Closing | None = None) -> None:
        self._start = start
        self._also_close = also_close
        self._handle: AgentHandle | None = None
        self._sync: SyncHandle | None = None

    if not TYPE_CHECKING:  # a type checker knows that there is no such attribute

        def __getattr__(self, name: str) -> object:
            raise AttributeError(
                f"{name!r} belongs to the live agent, which is not open yet: `chat = await ...`,"
                " `async with ... as chat`, or `with ... as chat`"
            )

    def __await__(self) -> Generator[object, None, AgentHandle]:
        return self._begin().__await__()

    async def __aenter__(self) -> AgentHandle:
        return await self._begin()

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    def __enter__(self) -> SyncHandle:
        """The synchronous face: the agent runs on a loop thread of its own."""
        self._sync = SyncHandle.start(self._begin, self._end)
        return self._sync

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._sync is not None:
            self._sync.shutdown()

    async def _begin(self) -> AgentHandle:
        try:
            self._handle = handle = await self._start()
        except BaseException:  # the one boundary: an opening that fails leaves nothing behind
            if self._also_close is not None:
                await run_to_end(self._also_close(), within=CLEANUP)
            raise
        if self._also_close is not None:
            handle.on_shutdown(self._also_close)
        return handle

    async def _end(self) -> None:
        if self._handle is not None:
            await self._handle.shutdown()
