"""The other side of a store: conversations, seen and steered by a process that runs none."""

from sidetask.client.approvals import StoredApproval
from sidetask.client.client import Client

__all__ = ["Client", "StoredApproval"]
