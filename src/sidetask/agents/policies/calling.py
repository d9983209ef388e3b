"""Calling the hooks of one conversation that are not about a single tool call.

A hook is a host's code: it may fail, hang, or await what somebody cancels. In a turn it ends with
the turn's token, so a Stop stops it, too; after the last turn it has `PATIENCE`.
"""

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
"""Seconds that `conversation_ended` may take: a shutdown waits for it."""

_log = logging.getLogger(__name__)


class TurnHooks:
    """The hooks of a conversation, called where a turn begins, ends, or makes room."""

    __slots__ = ("_ctx", "_hooks", "_kept_going", "_token")

    def __init__(self, hooks: Sequence[Hooks], ctx: HookContext) -> None:
        self._hooks = tuple(hooks)
        self._ctx = ctx
        self._kept_going = 0
        self._token = CancelToken()
        """Of the turn that runs."""

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
        self._token = token
        async with Cuttable(token, None):
            await self._tell("pre_turn", lambda h: h.pre_turn(self._ctx, message))

    async def turn_ended(self, status: str, text: str) -> None:
        await self._tell("post_turn", lambda h: h.post_turn(self._ctx, status, text))

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
