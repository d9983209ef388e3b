"""One gate per API key: a 429 parks every call on that key, and lets them go one by one."""

from sidetask.agents.quota.gate import GateStatus
from sidetask.agents.quota.quota import Quota, process_quota

__all__ = ["GateStatus", "Quota", "process_quota"]
