"""Calling the hooks of one conversation that are not about a single tool call."""

import logging
from collections.abc import Awaitable, Callable, Sequence

from sidetask.agents.guards.room import Compacted
from sidetask.agents.policies.hooks import HookContext, Hooks, overrides
from sidetask.core.messages import UserMessage

CONTINUES = 3
"""How often `on_stop` may keep one turn going."""

_log = logging.getLogger(__name__)


class TurnHooks:
    """The hooks of a conversation, called where a turn begins, ends, or makes room."""

    __slots__ = ("_ctx", "_hooks", "_kept_going")

    def __init__(self, hooks: Sequence[Hooks], ctx: HookContext) -> None:
        self._hooks = tuple(hooks)
        self._ctx = ctx
        self._kept_going = 0

    async def started(self) -> None:
        await self._tell("conversation_started", lambda h: h.conversation_started(self._ctx))

    async def ended(self) -> None:
        await self._tell("conversation_ended", lambda h: h.conversation_ended(self._ctx))

    async def turn_begins(self, message: UserMessage | None) -> None:
        self._kept_going = 0
        await self._tell("pre_turn", lambda h: h.pre_turn(self._ctx, message))

    async def turn_ended(self, status: str, text: str) -> None:
        await self._tell("post_turn", lambda h: h.post_turn(self._ctx, status, text))

    async def compacted(self, compacted: Compacted) -> None:
        await self._tell("on_compaction", lambda h: h.on_compaction(self._ctx, compacted))

    async def may_stop(self, text: str) -> str | None:
        """Why the turn goes on; None: it may end. A hook that fails lets it end."""
        if self._kept_going >= CONTINUES:
            return None
        for hooks in self._hooks:
            if not overrides(hooks, "on_stop"):
                continue
            try:
                reason = await hooks.on_stop(self._ctx, text)
            except Exception as error:  # noqa: BLE001 - the one boundary: a decider fails closed
                _log.warning("on_stop failed, and the turn ends", exc_info=error)
                return None
            if reason:
                self._kept_going += 1
                return str(reason)
        return None

    async def _tell(self, method: str, call: Callable[[Hooks], Awaitable[None]]) -> None:
        for hooks in self._hooks:
            if not overrides(hooks, method):
                continue
            try:
                await call(hooks)
            except Exception as error:  # noqa: BLE001 - the one boundary: an observer's fault
                _log.warning("the hook %s failed", method, exc_info=error)
