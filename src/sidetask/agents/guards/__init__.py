"""What keeps a run within bounds: budgets, doom loops, the length of what the model reads."""

from sidetask.agents.guards.compaction import Ask, Compaction, Compactor, PruneOutputs, Summary
from sidetask.agents.guards.room import Compacted
from sidetask.core.budget import Budget

__all__ = ["Ask", "Budget", "Compacted", "Compaction", "Compactor", "PruneOutputs", "Summary"]
