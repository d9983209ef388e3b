"""What a store keeps of the gates: a key's digest, when it opens, how often it was refused."""

from sidetask.core.ids import value
from sidetask.stores.base import Kind

OF = "gate:"
"""A gate's record is of a conversation that is none: this, and the digest of its key."""
ID = "gate"
"""The id of that record."""


@value(kw_only=True)
class GateNote:
    """What a process knows of a key."""

    opens_at: float
    """Seconds since the epoch."""
    hits: int
    """Times in a row that the provider refused."""


GATES = Kind("gate", GateNote)
"""Its status counts its changes."""
