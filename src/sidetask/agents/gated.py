"""A model call through the gate of its API key: wait, ask, and ask again when it was refused.

A call is sent again only while nothing of its reply was handed on: what the user has seen is
not told twice. A refusal in the middle of a reply parks the key like any other, and ends the
turn with what has come.
"""

from collections.abc import Awaitable, Callable

from sidetask.agents.quota import Quota
from sidetask.agents.quota.gate import now
from sidetask.agents.reply import Draft, ReplyReader
from sidetask.agents.turn_log import TurnLog
from sidetask.core.errors import RateLimitedError, TurnCancelledError
from sidetask.core.events import QuotaHit, QuotaResumed
from sidetask.models.base import Model, ModelRequest
from sidetask.tasks.aio.tokens import CancelToken


class GatedReader:
    """Reads replies for one turn, when the gate lets it."""

    __slots__ = ("_log", "_model", "_reader", "_token", "background", "quota")

    def __init__(
        self,
        log: TurnLog,
        token: CancelToken,
        quota: Quota,
        *,
        model: Model | None = None,
        is_told: bool = True,
    ) -> None:
        """`model` and `is_told`: as for `ReplyReader`."""
        self._log = log
        self._token = token
        self.quota = quota
        self._model = model or log.conversation.model
        self._reader = ReplyReader(log, token, model=model, is_told=is_told)
        self.background = False
        """Nobody waits for this turn: calls of turns that somebody asked for go first."""

    def aside(self, model: Model) -> "GatedReader":
        """For a model call of the same turn that nobody hears of."""
        reader = GatedReader(self._log, self._token, self.quota, model=model, is_told=False)
        reader.background = self.background
        return reader

    async def read(
        self,
        draft: Draft,
        request: Callable[[], ModelRequest],
        *,
        waited: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Fill `draft` from a streamed model call. It is made when the gate lets it pass; before
        that, `waited` is awaited if the gate was closed.

        Raises:
            QuotaExceededError: The gate stays closed for longer than a call may wait.
            TurnCancelledError, ModelError: As for `ReplyReader.read`.
        """
        refusals = 0
        while True:
            was_closed = self.quota.closed_for(self._key) > 0
            ticket = await self._pass()
            if was_closed and waited is not None:
                await waited()
            try:
                await self._reader.read(draft, request())
            except RateLimitedError as error:
                self._refused(error, ticket)
                refusals += 1
                if draft.has_begun or refusals > self.quota.max_retries:
                    raise
            else:
                used = draft.usage
                self.quota.record_success(
                    self._key, ticket, tokens=used.input_tokens + used.output_tokens
                )
                return

    @property
    def _key(self) -> str:
        return self._model.quota_key

    async def _pass(self) -> int:
        parked_at = now() if self.quota.closed_for(self._key) else None
        ticket = await self.quota.wait(
            self._key, background=self.background, cancellation=self._token
        )
        if ticket is None:
            raise TurnCancelledError(self._token.reason)
        if parked_at is not None:
            self._log.fact(
                QuotaResumed,
                model=self._model.name,
                key=self._key,
                waited=now() - parked_at,
            )
        return ticket

    def _refused(self, error: RateLimitedError, ticket: int) -> None:
        self.quota.record_hit(self._key, error.retry_after, ticket=ticket)
        status = self.quota.status_of(self._key)
        self._log.fact(
            QuotaHit,
            model=self._model.name,
            key=self._key,
            wait=self.quota.closed_for(self._key),
            hits=status.hits if status is not None else 0,
        )
