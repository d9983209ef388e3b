"""What may be called, by rules; and what a host does before and after a call, by hooks."""

from sidetask.agents.policies.hooks import (
    AskFirst,
    Change,
    Decision,
    Deny,
    HookContext,
    Hooks,
    ToolUse,
)
from sidetask.agents.policies.rules import Policy, Rule, allow, ask, deny

__all__ = [
    "AskFirst",
    "Change",
    "Decision",
    "Deny",
    "HookContext",
    "Hooks",
    "Policy",
    "Rule",
    "ToolUse",
    "allow",
    "ask",
    "deny",
]
