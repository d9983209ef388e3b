"""A model call through the gate of its API key: wait, ask, and ask again when it was refused.

A call is sent again only while nothing of its reply was handed on: what the user has seen is
not told twice. A refusal in the middle of a reply parks the key like any other, and ends the
turn with what has come.
"""

from collections.abc import Awaitable, Callable

from sidetask.agents.quota.gate import now
from sidetask.agents.turn.log import TurnLog
from sidetask.agents.turn.reply import Draft, read_reply
from sidetask.core.errors import RateLimitedError, TurnCancelledError
from sidetask.core.events import QuotaHit, QuotaResumed
from sidetask.models.base import Model, ModelRequest
from sidetask.tasks.aio.tokens import CancelToken


async def read_gated(
    draft: Draft,
    model: Model,
    *,
    request: Callable[[], ModelRequest],
    log: TurnLog,
    token: CancelToken,
    waited: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Fill `draft` from a streamed model call, when the gate lets it. The request is made when it
    does; before that, `waited` is awaited if the gate was closed.

    Raises:
        QuotaExceededError: The gate stays closed for longer than a call may wait.
        TurnCancelledError, ModelError: As for `read_reply`.
    """
    quota, key = log.quota, model.quota_key
    patience = log.conversation.config.model_timeout
    refusals = 0
    while True:
        if quota.is_free(key):
            ticket = quota.ticket()
        else:
            ticket = await _pass(model, log, token, waited)
        try:
            await read_reply(draft, model, request(), token, patience)
        except RateLimitedError as error:
            _refused(error, model, log, ticket)
            refusals += 1
            if draft.has_begun or refusals > quota.max_retries:
                raise
        else:
            tokens = draft.usage.input_tokens + draft.usage.output_tokens
            quota.record_success(key, ticket, tokens=tokens)
            return


async def _pass(
    model: Model, log: TurnLog, token: CancelToken, waited: Callable[[], Awaitable[None]] | None
) -> int:
    quota, key = log.quota, model.quota_key
    parked_at = now() if quota.closed_for(key) else None
    ticket = await quota.wait(key, background=log.background, cancellation=token)
    if ticket is None:
        raise TurnCancelledError(token.reason)
    if parked_at is not None:
        log.fact(QuotaResumed, model=model.name, key=key, waited=now() - parked_at)
        if waited is not None:
            await waited()
    return ticket


def _refused(error: RateLimitedError, model: Model, log: TurnLog, ticket: int) -> None:
    quota, key = log.quota, model.quota_key
    quota.record_hit(key, error.retry_after, ticket=ticket)
    status = quota.status_of(key)
    log.fact(
        QuotaHit,
        model=model.name,
        key=key,
        wait=quota.closed_for(key),
        hits=status.hits if status is not None else 0,
    )
