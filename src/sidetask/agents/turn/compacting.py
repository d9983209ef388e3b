"""Making room in a turn: the model call that a summary costs, and what is told of it."""

import logging
from collections.abc import Callable, Sequence

from sidetask.agents.guards.room import Compacted, Room
from sidetask.agents.guards.spending import Spending
from sidetask.agents.turn.gated import read_gated
from sidetask.agents.turn.log import Surroundings, TurnLog
from sidetask.agents.turn.reply import Draft
from sidetask.core.errors import ModelError, TurnCancelledError
from sidetask.core.events import CompactionCircuitOpened, HistoryCompacted
from sidetask.core.messages import Message
from sidetask.core.usage import Usage
from sidetask.models.base import Model, ModelRequest
from sidetask.stores.base import COMPACTIONS, Compaction, Record
from sidetask.tasks.aio.scope import Cuttable
from sidetask.tasks.aio.tokens import CancelToken

_log = logging.getLogger(__name__)


class Compacting:
    """One compaction in a turn."""

    __slots__ = ("_around", "_log", "_record", "_room", "_spending", "_token", "_used")

    def __init__(
        self,
        around: Surroundings,
        log: TurnLog,
        token: CancelToken,
        room: Room,
        *,
        spending: Spending | None,
        record: Callable[[Draft, Model], Usage],
    ) -> None:
        self._around = around
        self._log = log
        self._token = token
        self._room = room
        self._spending = spending
        self._record = record
        self._used: Usage | None = None

    async def make_room(self) -> bool:
        """Compact what is old; False: nothing came of it, and the context is as it was.

        Raises:
            TurnCancelledError: The turn's token was cancelled meanwhile.
        """
        done: Compacted | None = None
        scope = Cuttable(self._token, None)
        try:
            async with scope:
                done = await self._room.make(self._ask)
        except Exception as error:  # noqa: BLE001 - the one boundary: the turn goes on without
            if not self._token.is_cancelled:
                self._failed(error)
        if done is not None:
            self._tell(done)
        if self._token.is_cancelled:
            raise TurnCancelledError(self._token.reason)
        if scope.cut_by == "inside":
            self._failed(ModelError("something that the compactor awaited was cancelled"))
        if done is None:
            return False
        on_compaction = self._log.conversation.on_compaction
        if on_compaction is not None:
            await on_compaction(done)
        return True

    def _tell(self, done: Compacted) -> None:
        """The context has changed, whatever came meanwhile."""
        self._keep(done)
        self._log.fact(
            HistoryCompacted,
            index=done.index,
            tokens_before=done.tokens_before,
            tokens_after=done.tokens_after,
            summary=done.summary,
            usage=self._used,
        )

    def _keep(self, done: Compacted) -> None:
        """For who takes the conversation up again. Pruned messages are pruned again, then."""
        conversation, store = self._log.conversation, self._around.store
        if done.summary:
            summary = Compaction(start=0, end=done.index, summary=conversation.context.messages[0])
            store.put(
                Record(
                    kind=COMPACTIONS,
                    conversation_id=conversation.id,
                    id=f"fact-{self._around.outbox.journal(conversation.id).seq + 1}",
                    status="made",
                    at=self._around.outbox.now(),
                    value=summary,
                )
            )

    def _failed(self, error: Exception) -> None:
        conversation, circuit = self._log.conversation, self._room.circuit
        _log.warning("compacting %s: %s: %s", conversation.id, type(error).__name__, error)
        if circuit.failed(self._around.outbox.now()):
            self._log.fact(CompactionCircuitOpened, failures=circuit.failures, error=str(error))

    async def _ask(self, messages: Sequence[Message]) -> str:
        conversation = self._log.conversation
        model = conversation.summary_model or conversation.model
        if self._spending is not None:
            self._spending.begin_step()
        settings = conversation.config.settings
        request = ModelRequest(
            instructions=conversation.config.instructions,
            messages=messages,
            tools=conversation.toolset.schemas,
            settings={key: settings[key] for key in settings if key != "tool_choice"},
            gates=self._around.quota,
        )
        draft = Draft({})
        try:
            await read_gated(
                draft, model, request=lambda: request, log=self._log, token=self._token
            )
        finally:
            if draft.finished is not None:
                self._used = (self._used or Usage()) + self._record(draft, model)
        message = draft.message()
        if message is None or not message.text.strip():
            raise ModelError(f"{model.name} wrote no summary")
        return message.text.strip()
