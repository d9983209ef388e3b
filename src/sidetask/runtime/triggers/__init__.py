"""Turns and dispatches that no user asks for: by the clock, by the state, by files, by code."""

from sidetask.runtime.triggers.base import Then, Trigger, TriggerContext
from sidetask.runtime.triggers.schedule import cron, every
from sidetask.runtime.triggers.watching import on_file_change, on_state

__all__ = ["Then", "Trigger", "TriggerContext", "cron", "every", "on_file_change", "on_state"]
