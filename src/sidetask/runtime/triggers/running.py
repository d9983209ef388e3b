"""Keeping a conversation's triggers alive: one that crashes is told, and begins anew."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from sidetask.core.errors import AgentNotStartedError, StateClosedError
from sidetask.core.events import TriggerFailed
from sidetask.runtime.triggers.base import Trigger, TriggerContext
from sidetask.tasks.aio.outbox import Journal
from sidetask.tasks.aio.spawn import hosted, spawn, stop

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 300.0
"""Seconds before a trigger that crashed begins anew: doubled from the first to the longest."""
GRACE = 5.0
"""Seconds that triggers may take to stop when their conversation ends."""

_log = logging.getLogger(__name__)


class Triggers:
    """The triggers of one conversation, from its opening to its end."""

    def __init__(
        self,
        triggers: Sequence[Trigger],
        make_context: Callable[[str], TriggerContext],
        journal: Journal,
    ) -> None:
        self._triggers = triggers
        self._journal = journal
        self._make_context = make_context
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Let them live from now on."""
        for each in self._triggers:
            self._tasks.append(spawn(self._keep(each), name=f"trigger {each.name}"))

    async def close(self) -> None:
        """Stop them all, in whatever they are doing."""
        await stop(self._tasks, within=GRACE)

    async def _keep(self, trigger: Trigger) -> None:
        loop = asyncio.get_running_loop()
        ctx = self._make_context(trigger.name)
        pause = FIRST_PAUSE
        while True:
            begun = loop.time()
            try:
                await hosted(trigger.run(ctx))
                return
            except (AgentNotStartedError, StateClosedError):
                return  # its conversation has ended
            except Exception as error:  # noqa: BLE001 - the one boundary: a trigger's fault is told
                if loop.time() - begun > LONGEST_PAUSE:  # it had been well for a while
                    pause = FIRST_PAUSE
                _log.exception("the trigger %s failed; again in %g s", trigger.name, pause)
                self._tell(trigger, error, pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _tell(self, trigger: Trigger, error: Exception, pause: float) -> None:
        self._journal.tell_readers(
            TriggerFailed,
            trigger=trigger.name,
            error=str(error),
            error_type=type(error).__name__,
            pause=pause,
        )
