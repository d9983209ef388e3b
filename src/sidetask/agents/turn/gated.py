"""A model call through the gate of its API key: wait, ask, and ask again when it was refused.

A call is sent again only while nothing of its reply was handed on: what the user has seen is
not told twice. A refusal in the middle of a reply parks the key like any other, and ends the
turn with what has come.
"""

from collections.abc import Awaitable, Callable

from sidetask.agents.quota import Quota
from sidetask.agents.quota.gate import now
from sidetask.agents.turn.log import TurnLog
from sidetask.agents.turn.reply import Draft, read_reply
from sidetask.core.errors import RateLimitedError, TurnCancelledError
from sidetask.core.events import QuotaHit, QuotaResumed
from sidetask.models.base import Model, ModelRequest
from sidetask.tasks.aio.tokens import CancelToken


class GatedReader:
    """Reads replies for one turn, when the gate lets it."""

    __slots__ = ("_log", "_token", "background", "quota")

    def __init__(self, log: TurnLog, token: CancelToken, quota: Quota) -> None:
        self._log = log
        self._token = token
        self.quota = quota
        self.background = False
        """Nobody waits for this turn: calls of turns that somebody asked for go first."""

    async def read(
        self,
        draft: Draft,
        model: Model,
        request: Callable[[], ModelRequest],
        *,
        waited: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Fill `draft` from a streamed model call. The request is made when the gate lets it
        pass; before that, `waited` is awaited if the gate was closed.

        Raises:
            QuotaExceededError: The gate stays closed for longer than a call may wait.
            TurnCancelledError, ModelError: As for `read_reply`.
        """
        quota, key = self.quota, model.quota_key
        patience = self._log.conversation.config.model_timeout
        refusals = 0
        while True:
            ticket = quota.ticket() if quota.is_free(key) else await self._pass(model, waited)
            try:
                await read_reply(draft, model, request(), self._token, patience)
            except RateLimitedError as error:
                self._refused(error, model, ticket)
                refusals += 1
                if draft.has_begun or refusals > quota.max_retries:
                    raise
            else:
                tokens = draft.usage.input_tokens + draft.usage.output_tokens
                quota.record_success(key, ticket, tokens=tokens)
                return

    async def _pass(self, model: Model, waited: Callable[[], Awaitable[None]] | None) -> int:
        key = model.quota_key
        parked_at = now() if self.quota.closed_for(key) else None
        ticket = await self.quota.wait(key, background=self.background, cancellation=self._token)
        if ticket is None:
            raise TurnCancelledError(self._token.reason)
        if parked_at is not None:
            passed = now() - parked_at
            self._log.fact(QuotaResumed, model=model.name, key=key, waited=passed)
            if waited is not None:
                await waited()
        return ticket

    def _refused(self, error: RateLimitedError, model: Model, ticket: int) -> None:
        key = model.quota_key
        self.quota.record_hit(key, error.retry_after, ticket=ticket)
        status = self.quota.status_of(key)
        self._log.fact(
            QuotaHit,
            model=model.name,
            key=key,
            wait=self.quota.closed_for(key),
            hits=status.hits if status is not None else 0,
        )
