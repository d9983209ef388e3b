"""The turn of a conversation that runs: carried out, stored, heard by its reader, and ended."""

import asyncio
import logging

from sidetask.agents.conversation import Conversation
from sidetask.agents.turn.log import Surroundings
from sidetask.agents.turn.loop import CLEANUP, TurnEnd, TurnRun
from sidetask.core.errors import StoreError
from sidetask.core.events import Event, RunCancelled, RunCompleted, RunFailed
from sidetask.core.ids import TurnId
from sidetask.runtime.response import ChatResponse
from sidetask.tasks.aio.spawn import run_to_end
from sidetask.tasks.aio.tokens import CancelToken

_ENDS = (RunCompleted, RunFailed, RunCancelled)
_log = logging.getLogger(__name__)


class Current:
    """One turn, from its admission to its end."""

    __slots__ = (
        "_conversation",
        "_end",
        "_outbox",
        "_run",
        "keeps_end",
        "response",
        "run_id",
        "token",
        "turn_id",
    )

    def __init__(
        self,
        around: Surroundings,
        conversation: Conversation,
        response: ChatResponse,
        if_cancelled: str,
    ) -> None:
        """`if_cancelled`: why the asyncio task that carries it out is cancelled, if it is."""
        self.token = CancelToken()
        self.response = response
        self._conversation = conversation
        self._outbox = around.outbox if around.store.durable else None
        self.keeps_end = self._outbox is not None
        """Its reader is told of its end when that is on the disk."""
        self.turn_id = TurnId(f"turn-{conversation.turns}")
        self._run = TurnRun(
            around,
            conversation,
            self.turn_id,
            self.token,
            response.order,
            budget=response.budget,
            if_cancelled=if_cancelled,
        )
        self.run_id = self._run.run_id
        self._end: Event | None = None
        """Of the run, where its reader is told of it when it is on the disk."""

    @property
    def end(self) -> TurnEnd | None:
        """None: it was cancelled in its first step."""
        return self._run.end

    def hear(self, event: Event) -> None:
        """An event of the run has landed, whose end is kept."""
        if isinstance(event, _ENDS):
            self._end = event
        else:
            self.response.append(event)

    def cut_reply(self) -> None:
        """A result came that interrupts."""
        self._run.cut_reply()

    def stop(self, reason: str) -> None:
        """End it soon, with the hooks that hear of its end."""
        self.token.cancel(reason)
        if self._conversation.hooks is not None:
            self._conversation.hooks.stop()

    async def carry_out(self, heard: bool) -> None:
        """Run the turn to its end. It is `heard` where somebody waits for its begin.

        Raises:
            asyncio.CancelledError: The asyncio task was cancelled; the turn is closed.
        """
        try:
            await self._to_its_end(heard)
            if self._outbox is not None:
                await self._outbox.stored()  # what is told of it is on the disk
        except StoreError as error:
            _log.exception("the end of %s of %s", self.turn_id, self._conversation.id)
            self._run.end = TurnEnd("failed", error=error)
        finally:
            if self._end is not None:
                self.response.append(self._end)

    async def _to_its_end(self, heard: bool) -> None:
        """With the host's hooks, which hear of every end."""
        run, response, hooks = self._run, self.response, self._conversation.hooks
        try:
            await run.run(
                response.message, cause=response.cause, task_ids=response.task_ids, heard=heard
            )
        except asyncio.CancelledError:
            if hooks is not None and run.end is not None:
                told = hooks.turn_ended(run.end.status, run.end.text)
                try:
                    await run_to_end(told, within=CLEANUP)
                except TimeoutError:
                    _log.warning("post_turn was cancelled: it took longer than %g s", CLEANUP)
            raise
        except Exception as error:  # noqa: BLE001 - the one boundary: its end could not be stored
            _log.exception("%s of %s", run.run_id, self._conversation.id)
            run.end = run.end or TurnEnd("failed", error=error)
        if hooks is not None and run.end is not None:
            await hooks.turn_ended(run.end.status, run.end.text)
