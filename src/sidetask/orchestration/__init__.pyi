"""The public names of orchestration, for type checkers."""

from sidetask.core.budget import Budget as Budget
from sidetask.orchestration.base import Invocable as Invocable
from sidetask.orchestration.base import Mode as Mode
from sidetask.orchestration.batches import Batch as Batch
from sidetask.orchestration.batches import BatchItem as BatchItem
from sidetask.orchestration.batches import batch as batch
from sidetask.orchestration.calling import call as call
from sidetask.orchestration.calling import invoke as invoke
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
from sidetask.orchestration.flow import Flow as Flow
from sidetask.orchestration.flows.plan import OnEnter as OnEnter
from sidetask.orchestration.flows.plan import Step as Step
from sidetask.orchestration.flows.plan import ambient as ambient
from sidetask.orchestration.flows.plan import before as before
from sidetask.orchestration.flows.plan import never_until as never_until
from sidetask.orchestration.flows.plan import once as once
from sidetask.orchestration.flows.plan import require as require
from sidetask.orchestration.functions import as_agent as as_agent
from sidetask.orchestration.guards.base import Guard as Guard
from sidetask.orchestration.guards.words import always as always
from sidetask.orchestration.guards.words import called as called
from sidetask.orchestration.guards.words import custom as custom
from sidetask.orchestration.guards.words import eq as eq
from sidetask.orchestration.guards.words import failed as failed
from sidetask.orchestration.guards.words import is_set as is_set
from sidetask.orchestration.guards.words import is_true as is_true
from sidetask.orchestration.guards.words import resolved as resolved
from sidetask.orchestration.guards.words import settled as settled
from sidetask.orchestration.guards.words import step_done as step_done
from sidetask.orchestration.resolvers import Resolver as Resolver
from sidetask.orchestration.template import Template as Template
from sidetask.orchestration.template import escape as escape
