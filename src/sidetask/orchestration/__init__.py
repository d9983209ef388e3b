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
from sidetask.orchestration.combinators import Pipeline as Pipeline
from sidetask.orchestration.combinators import fallback as fallback
from sidetask.orchestration.combinators import loop as loop
from sidetask.orchestration.combinators import map_over as map_over
from sidetask.orchestration.combinators import parallel as parallel
from sidetask.orchestration.combinators import race as race
from sidetask.orchestration.combinators import route as route
from sidetask.orchestration.combinators import sequence as sequence
from sidetask.orchestration.combinators import tap as tap
from sidetask.orchestration.combinators import with_timeout as with_timeout
from sidetask.orchestration.dispatcher import (
    BackgroundAgentDispatcher as BackgroundAgentDispatcher,
)
from sidetask.orchestration.resolvers import Resolver as Resolver
from sidetask.orchestration.template import Template as Template
from sidetask.orchestration.template import escape as escape

__all__ = [
    "BackgroundAgentDispatcher",
    "Batch",
    "BatchItem",
    "Budget",
    "Invocable",
    "Mode",
    "Pipeline",
    "Resolver",
    "Template",
    "as_agent",
    "batch",
    "call",
    "escape",
    "fallback",
    "invoke",
    "loop",
    "map_over",
    "parallel",
    "race",
    "route",
    "sequence",
    "tap",
    "with_timeout",
]
