"""Answering a conversation's questions by a function of the host.

Each question is handed over in an asyncio task of its own, so one that takes long holds up no
other. A handler that fails, or says what cannot be carried out, denies. Who else decides first
is right: a late answer is dropped.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Literal, TypeAlias

from sidetask.agents.policies.hooks import Change, Deny
from sidetask.core.errors import AlreadyDecidedError, ApprovalNotFoundError, ConfigurationError
from sidetask.core.events import ApprovalRequested, Event
from sidetask.runtime.views import ConversationApprovals
from sidetask.tasks.aio.spawn import hosted, spawn, stop
from sidetask.tasks.aio.streams import Stream
from sidetask.tasks.values import Approval

BY = "on_approval"
"""Who decided, where a handler did."""

GRACE = 5.0
"""Seconds that handlers may take to stop when their conversation ends."""

Answer: TypeAlias = bool | Deny | Change
"""Yes, no, no with a reason for the model, or yes to other arguments."""
ApprovalHandler: TypeAlias = Callable[[Approval], Awaitable[Answer]]
OnApproval: TypeAlias = ApprovalHandler | Literal["host"]
"""A handler; or `"host"`: the program itself decides, through `handle.approvals`."""

_log = logging.getLogger(__name__)


def check_on_approval(on_approval: object) -> None:
    """Refuse what is neither a handler, `"host"` nor None.

    Raises:
        ConfigurationError: It is not.
    """
    if on_approval is not None and on_approval != "host" and not callable(on_approval):
        raise ConfigurationError(
            f"on_approval is an async function of the approval, or 'host', not {on_approval!r}"
        )


class ApprovalDesk:
    """Hands the questions of one conversation to its handler."""

    def __init__(
        self, handler: ApprovalHandler, approvals: ConversationApprovals, events: Stream
    ) -> None:
        self._handler = handler
        self._approvals = approvals
        self._answering: set[asyncio.Task[None]] = set()
        self._untap = events.tap(self._hear)

    async def close(self) -> None:
        """Ask no more, and stop waiting for answers."""
        self._untap()
        await stop(self._answering, within=GRACE)

    def _hear(self, event: Event) -> None:
        if not isinstance(event, ApprovalRequested):
            return
        for approval in self._approvals:
            if approval.id == event.approval_id:
                task = spawn(self._answer(approval), name=f"answer to {approval.id}")
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)

    async def _answer(self, approval: Approval) -> None:
        with suppress(AlreadyDecidedError, ApprovalNotFoundError):  # somebody was faster
            try:
                self._decide(approval, await hosted(self._handler(approval)))
            except (AlreadyDecidedError, ApprovalNotFoundError):
                raise
            except Exception as error:  # noqa: BLE001 - the one boundary: a handler that fails denies
                _log.warning("on_approval failed for %s", approval.id, exc_info=error)
                self._decide(approval, Deny(f"the handler failed: {error!r}"))

    def _decide(self, approval: Approval, answer: Answer) -> None:
        match answer:
            case True:
                self._approvals.approve(approval.id, by=BY)
            case False:
                self._approvals.deny(approval.id, by=BY)
            case Deny(reason):
                self._approvals.deny(approval.id, reason, by=BY)
            case Change(arguments):
                self._approvals.approve(approval.id, by=BY, arguments=dict(arguments))
            case _:  # pyright: ignore[reportUnnecessaryComparison] - a host's code may not be typed
                self._approvals.deny(approval.id, f"the handler said {answer!r}", by=BY)
