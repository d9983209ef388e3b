"""A block of code that can be cut from outside, or by silence."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from sidetask.tasks.aio.tokens import CancelToken


class Cuttable:
    """Ends its block when it is cut, when its token is cancelled, or when nothing has called
    `touch` for `patience` seconds. Afterwards `cut_by` says which; a cancellation of the asyncio
    task from outside passes through untouched.

    The timer is re-armed lazily: `touch` notes the time and nothing more, and a timer that
    fires early sleeps on. So a stream of a million pieces costs one timer a `patience`.
    """

    __slots__ = (
        "_cancelling",
        "_loop",
        "_patience",
        "_task",
        "_timer",
        "_token",
        "_touched",
        "cut_by",
    )

    def __init__(self, token: CancelToken, patience: float | None) -> None:
        self._token = token
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._touched = 0.0
        self._cancelling = 0
        self.cut_by: str | None = None
        """`token`, `silence`, the word given to `cut`, or None. `inside`: something in the block
        raised `CancelledError` though nobody had cancelled it."""

    def touch(self) -> None:
        """Something came: the patience begins anew."""
        self._touched = self._loop.time()

    def cut(self, why: str) -> None:
        """End the block, if it is being run. The first reason stands."""
        if self.cut_by is None and self._task is not None:
            self.cut_by = why
            self._task.cancel()

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancelling = self._task.cancelling()
        self._token.listen(self._on_token)
        if self._patience is not None:
            self.touch()
            self._timer = self._loop.call_later(self._patience, self._on_timer)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        task, self._task = self._task, None
        assert task is not None
        self._token.unlisten(self._on_token)
        if self._timer is not None:
            self._timer.cancel()
        cancelled = kind is asyncio.CancelledError
        if self.cut_by is None:
            if cancelled and task.cancelling() <= self._cancelling:
                self.cut_by = "inside"
            return self.cut_by is not None
        if not cancelled:
            # The block was over before asyncio delivered the cancellation, or it swallowed it:
            # what is left of it is taken here, where it belongs.
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        # As asyncio.timeout does it: our own cancellation is taken back and swallowed, and
        # another one that came meanwhile goes on.
        ours = task.uncancel() <= self._cancelling
        if not ours and not cancelled:
            raise asyncio.CancelledError
        return ours and cancelled

    def _on_token(self) -> None:
        self.cut("token")

    def _on_timer(self) -> None:
        assert self._patience is not None
        left = self._touched + self._patience - self._loop.time()
        if left <= 0:
            self.cut("silence")
        else:
            self._timer = self._loop.call_later(left, self._on_timer)
