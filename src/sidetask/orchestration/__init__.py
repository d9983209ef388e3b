"""How an agent is invoked: waited for, beside the conversation, or as part of a flow.

The face: the public names, each loaded when it is first used. `__init__.pyi` beside this file
tells type checkers the same names.
"""

from importlib import import_module

_HOMES = {
    "BackgroundAgentDispatcher": "orchestration.dispatcher",
    "Batch": "orchestration.batches",
    "BatchItem": "orchestration.batches",
    "Budget": "core.budget",
    "Flow": "orchestration.flow",
    "Guard": "orchestration.guards.base",
    "Invocable": "orchestration.base",
    "Mode": "orchestration.base",
    "OnEnter": "orchestration.flows.plan",
    "Pipeline": "orchestration.combinators",
    "Resolver": "orchestration.resolvers",
    "Step": "orchestration.flows.plan",
    "Template": "orchestration.template",
    "always": "orchestration.guards.words",
    "ambient": "orchestration.flows.plan",
    "as_agent": "orchestration.functions",
    "batch": "orchestration.batches",
    "before": "orchestration.flows.plan",
    "call": "orchestration.calling",
    "called": "orchestration.guards.words",
    "custom": "orchestration.guards.words",
    "eq": "orchestration.guards.words",
    "escape": "orchestration.template",
    "failed": "orchestration.guards.words",
    "fallback": "orchestration.combinators",
    "invoke": "orchestration.calling",
    "is_set": "orchestration.guards.words",
    "is_true": "orchestration.guards.words",
    "loop": "orchestration.combinators",
    "map_over": "orchestration.combinators",
    "never_until": "orchestration.flows.plan",
    "once": "orchestration.flows.plan",
    "parallel": "orchestration.combinators",
    "race": "orchestration.combinators",
    "require": "orchestration.flows.plan",
    "resolved": "orchestration.guards.words",
    "route": "orchestration.combinators",
    "sequence": "orchestration.combinators",
    "settled": "orchestration.guards.words",
    "step_done": "orchestration.guards.words",
    "tap": "orchestration.combinators",
    "with_timeout": "orchestration.combinators",
}
"""Where each public name is defined."""

__all__ = list(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll] - the stub names them


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"sidetask.{home}"), name)
    globals()[name] = found  # the next look finds it at once
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
