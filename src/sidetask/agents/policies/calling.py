"""Calling the hooks of one conversation that are not about a single tool call.

A hook is a host's code: it may fail, hang, or await what somebody cancels. In a turn it ends with
the turn's token, so a Stop stops it, too; what comes after a turn that was stopped, and after the
last one, has `PATIENCE`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from sidetask.agents.guards.room import Compacted
from sidetask.agents.policies.hooks import HookContext, Hooks, overrides
from sidetask.core.messages import UserMessage
from sidetask.tasks.aio.scope import Cuttable
from sidetask.tasks.aio.spawn import hosted
from sidetask.tasks.aio.tokens import CancelToken

CONTINUES = 3
"""How often `on_stop` may keep one turn going."""
PATIENCE = 5.0
"""Seconds that `conversation_ended` may take, for which a shutdown waits, and `post_turn`, once
somebody waits for the end of its turn."""

_log = logging.getLogger(__name__)


class TurnHooks:
    """The hooks of a conversation, called where a turn begins, ends, or makes room."""

    __slots__ = ("_after", "_ctx", "_hooks", "_is_stopped", "_kept_going", "_timer", "_token")

    def __init__(self, hooks: Sequence[Hooks], ctx: HookContext) -> None:
        self._hooks = tuple(hooks)
        self._ctx = ctx
        self._kept_going = 0
        self._token = CancelToken()
        """Of the turn that runs."""
        self._is_stopped = False
        self._after: Cuttable | None = None
        """What is told of the end of a turn, while it is."""
        self._timer: asyncio.TimerHandle | None = None

    async def started(self) -> None:
        await self._tell("conversation_started", lambda h: h.conversation_started(self._ctx))

    async def ended(self) -> None:
        scope = Cuttable(CancelToken(), PATIENCE)
        async with scope:
            await self._tell("conversation_ended", lambda h: h.conversation_ended(self._ctx))
        if scope.cut_by is not None:
            _log.warning("conversation_ended was cancelled: it took longer than %g s", PATIENCE)

    async def turn_begins(self, message: UserMessage | None, token: CancelToken) -> None:
        """A turn begins, which ends when `token` is cancelled."""
        self._kept_going = 0
        self._is_stopped = False
        self._token = token
        async with Cuttable(token, None):
            await self._tell("pre_turn", lambda h: h.pre_turn(self._ctx, message))

    def stop(self) -> None:
        """Somebody stops the turn that runs, and waits until its hooks have heard of its end."""
        self._is_stopped = True
        if self._after is not None and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(PATIENCE, self._after.cut, "stop")

    async def turn_ended(self, status: str, text: str) -> None:
        self._after = scope = Cuttable(CancelToken(), PATIENCE if self._is_stopped else None)
        try:
            async with scope:
                await self._tell("post_turn", lambda h: h.post_turn(self._ctx, status, text))
        finally:
            self._after = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        if scope.cut_by is not None:
            _log.warning("post_turn was cancelled: it took longer than %g s", PATIENCE)

    async def compacted(self, compacted: Compacted) -> None:
        async with Cuttable(self._token, None):
            await self._tell("on_compaction", lambda h: h.on_compaction(self._ctx, compacted))

    async def may_stop(self, text: str) -> str | None:
        """Why the turn goes on; None: it may end. A hook that fails lets it end."""
        if self._kept_going >= CONTINUES:
            return None
        async with Cuttable(self._token, None):
            reason = await self._reason(text)
            self._kept_going += reason is not None
            return reason
        return None

    async def _reason(self, text: str) -> str | None:
        for hooks in self._hooks:
            if not overrides(hooks, "on_stop"):
                continue
            try:
                reason = str(await hosted(hooks.on_stop(self._ctx, text)) or "")
            except Exception as error:  # noqa: BLE001 - the one boundary: a decider fails closed
                _log.warning("on_stop failed, and the turn ends", exc_info=error)
                return None
            if reason.strip():
                return reason
        return None

    async def _tell(self, method: str, call: Callable[[Hooks], Awaitable[None]]) -> None:
        for hooks in self._hooks:
            if not overrides(hooks, method):
                continue
            try:
                await hosted(call(hooks))
            except Exception as error:  # noqa: BLE001 - the one boundary: an observer's fault
                _log.warning("the hook %s failed", method, exc_info=error)
