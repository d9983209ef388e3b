"""Agents out of agents: one after another, side by side, the first that can, again and again."""

from sidetask.orchestration.combinators.parallel import map_over as map_over
from sidetask.orchestration.combinators.parallel import parallel as parallel
from sidetask.orchestration.combinators.parallel import race as race
from sidetask.orchestration.combinators.pipeline import Pipeline as Pipeline
from sidetask.orchestration.combinators.series import fallback as fallback
from sidetask.orchestration.combinators.series import loop as loop
from sidetask.orchestration.combinators.series import route as route
from sidetask.orchestration.combinators.series import sequence as sequence
from sidetask.orchestration.combinators.series import tap as tap
from sidetask.orchestration.combinators.series import with_timeout as with_timeout

__all__ = [
    "Pipeline",
    "fallback",
    "loop",
    "map_over",
    "parallel",
    "race",
    "route",
    "sequence",
    "tap",
    "with_timeout",
]
