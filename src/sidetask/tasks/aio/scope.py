"""A block of code that can be cut from outside, or by silence."""

import asyncio
import threading
from asyncio import AbstractEventLoop
from contextlib import suppress
from math import inf
from types import TracebackType
from typing import Self

from sidetask.tasks.aio.tokens import CancelToken


class Cuttable:
    """Ends its block when it is cut, when its token is cancelled, or when nothing has called
    `touch` for `patience` seconds. Afterwards `cut_by` says which; a cancellation of the asyncio
    task from outside passes through untouched.
    """

    __slots__ = ("_cancelling", "_patience", "_silence", "_task", "_token", "cut_by", "deadline")

    def __init__(self, token: CancelToken, patience: float | None) -> None:
        self._token = token
        self._patience = patience or 0.0
        self._silence = _of_loop() if patience is not None else None
        self.deadline = 0.0
        """When the patience is over, if nothing comes."""
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self.cut_by: str | None = None
        """`token`, `silence`, the word given to `cut`, or None. `inside`: something in the block
        raised `CancelledError` though nobody had cancelled it."""

    def touch(self) -> None:
        """Something came: the patience begins anew."""
        if self._silence is not None:
            self.deadline = self._silence.now() + self._patience

    def cut(self, why: str) -> None:
        """End the block, if it is being run. The first reason stands."""
        if self.cut_by is None and self._task is not None:
            self.cut_by = why
            self._task.cancel()

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        if task.cancelling():
            await asyncio.sleep(0)  # one that is still on its way, a signal's, arrives out here
        self._task = task
        self._cancelling = task.cancelling()
        self._token.listen(self._on_token)
        if self._silence is not None:
            self.touch()
            self._silence.watch(self)
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
        if self._silence is not None:
            self._silence.forget(self)
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


class _Silence:
    """Watches the blocks of one loop that have a patience, with one timer for all of them.

    It is armed lazily: whoever comes notes the time and nothing more, and a timer that rings early
    sleeps on. A block of the usual patience ends after it was armed, and so arms nothing: a
    million calls, or pieces of a stream, cost one timer a patience.
    """

    __slots__ = ("_blocks", "_rings_at", "_timer", "loop", "now")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self.now = loop.time
        self._blocks: dict[Cuttable, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = inf

    def watch(self, block: Cuttable) -> None:
        self._blocks[block] = None
        if block.deadline < self._rings_at:
            self._arm_for(block.deadline)

    def forget(self, block: Cuttable) -> None:
        self._blocks.pop(block, None)

    def _arm_for(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(deadline, self._ring)
        self._rings_at = deadline

    def _ring(self) -> None:
        self._timer, self._rings_at = None, inf
        now = self.now()
        for block in [each for each in self._blocks if each.deadline <= now]:
            del self._blocks[block]
            block.cut("silence")
        if self._blocks:
            self._arm_for(min([each.deadline for each in self._blocks]))


class _Here(threading.local):
    """What the loop of a thread has; a closed loop is forgotten with the next."""

    silence: _Silence | None = None


_here = _Here()


def _of_loop() -> _Silence:
    loop, silence = asyncio.get_running_loop(), _here.silence
    if silence is None or silence.loop is not loop:
        silence = _here.silence = _Silence(loop)
    return silence
