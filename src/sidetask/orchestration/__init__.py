"""How an agent is invoked: waited for, beside the conversation, or as part of a flow.

The face: the public names, each loaded when it is first used. `__init__.pyi` beside this file
tells type checkers the same names.
"""

from sidetask.core import face

_HOMES = {
    "BackgroundAgentDispatcher": "sidetask.orchestration.dispatcher",
    "Batch": "sidetask.orchestration.batches",
    "BatchItem": "sidetask.orchestration.batches",
    "Budget": "sidetask.core.budget",
    "Flow": "sidetask.orchestration.flow",
    "Guard": "sidetask.orchestration.guards.base",
    "Invocable": "sidetask.orchestration.base",
    "Mode": "sidetask.orchestration.base",
    "OnEnter": "sidetask.orchestration.flows.plan",
    "Pipeline": "sidetask.orchestration.combinators",
    "Resolver": "sidetask.orchestration.resolvers",
    "Step": "sidetask.orchestration.flows.plan",
    "Template": "sidetask.orchestration.template",
    "always": "sidetask.orchestration.guards.words",
    "ambient": "sidetask.orchestration.flows.plan",
    "as_agent": "sidetask.orchestration.functions",
    "batch": "sidetask.orchestration.batches",
    "before": "sidetask.orchestration.flows.plan",
    "call": "sidetask.orchestration.calling",
    "called": "sidetask.orchestration.guards.words",
    "custom": "sidetask.orchestration.guards.words",
    "eq": "sidetask.orchestration.guards.words",
    "escape": "sidetask.orchestration.template",
    "failed": "sidetask.orchestration.guards.words",
    "fallback": "sidetask.orchestration.combinators",
    "invoke": "sidetask.orchestration.calling",
    "is_set": "sidetask.orchestration.guards.words",
    "is_true": "sidetask.orchestration.guards.words",
    "loop": "sidetask.orchestration.combinators",
    "map_over": "sidetask.orchestration.combinators",
    "never_until": "sidetask.orchestration.flows.plan",
    "once": "sidetask.orchestration.flows.plan",
    "parallel": "sidetask.orchestration.combinators",
    "race": "sidetask.orchestration.combinators",
    "require": "sidetask.orchestration.flows.plan",
    "resolved": "sidetask.orchestration.guards.words",
    "route": "sidetask.orchestration.combinators",
    "sequence": "sidetask.orchestration.combinators",
    "settled": "sidetask.orchestration.guards.words",
    "step_done": "sidetask.orchestration.guards.words",
    "tap": "sidetask.orchestration.combinators",
    "with_timeout": "sidetask.orchestration.combinators",
}
"""Where each public name is defined."""

__all__, __getattr__, __dir__ = face(globals(), _HOMES)  # pyright: ignore[reportUnsupportedDunderAll] - the stub names them
