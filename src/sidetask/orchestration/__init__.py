"""How an agent is invoked: waited for, beside the conversation, or as part of a flow."""

from sidetask.core.budget import Budget as Budget
from sidetask.orchestration.as_agent import as_agent as as_agent
from sidetask.orchestration.base import Invocable as Invocable
from sidetask.orchestration.base import Mode as Mode
from sidetask.orchestration.batch import Batch as Batch
from sidetask.orchestration.batch import BatchItem as BatchItem
from sidetask.orchestration.batch import batch as batch
from sidetask.orchestration.call import call as call
from sidetask.orchestration.call import invoke as invoke
from sidetask.orchestration.dispatcher import (
    BackgroundAgentDispatcher as BackgroundAgentDispatcher,
)

__all__ = [
    "BackgroundAgentDispatcher",
    "Batch",
    "BatchItem",
    "Budget",
    "Invocable",
    "Mode",
    "as_agent",
    "batch",
    "call",
    "invoke",
]
