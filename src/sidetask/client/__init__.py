"""The other side of a store: conversations, seen and steered by a process that runs none."""

from sidetask.client.approvals import StoredApproval
from sidetask.client.client import Client
from sidetask.client.why import (
    Asking,
    AtHome,
    ClosedGate,
    Ended,
    Held,
    Home,
    Parked,
    Queued,
    Running,
    Standing,
    Stopping,
    Untold,
    Why,
    Worker,
)

__all__ = [
    "Asking",
    "AtHome",
    "Client",
    "ClosedGate",
    "Ended",
    "Held",
    "Home",
    "Parked",
    "Queued",
    "Running",
    "Standing",
    "Stopping",
    "StoredApproval",
    "Untold",
    "Why",
    "Worker",
]
