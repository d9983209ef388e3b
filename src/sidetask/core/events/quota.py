"""Quota: a key's calls are parked, and go on."""

from sidetask.core.events.base import Event, EventKind, fact


@fact
class QuotaHit(Event):
    """The provider refused a call of this conversation: all calls of its key wait."""

    kind = EventKind.QUOTA_HIT
    model: str
    key: str
    """The `quota_key` of the model: a digest."""
    wait: float
    """Seconds until the window opens."""
    hits: int
    """In a row, since the last success."""


@fact
class QuotaResumed(Event):
    """A call of this conversation that waited for its key's window goes on."""

    kind = EventKind.QUOTA_RESUMED
    model: str
    key: str
    waited: float
    """Seconds."""
