"""What an engine promises, and what all that run in the caller's loop have in common."""

from sidetask.engines.base.local import LocalEngine, LocalJob
from sidetask.engines.base.seam import Body, Capabilities, Context, Ended, Engine, JobSpec
from sidetask.engines.base.steps import JournalingEngine, StepJournal

__all__ = [
    "Body",
    "Capabilities",
    "Context",
    "Ended",
    "Engine",
    "JobSpec",
    "JournalingEngine",
    "LocalEngine",
    "LocalJob",
    "StepJournal",
]
