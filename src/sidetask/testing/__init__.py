"""The test kit: time that does not have to be waited for, models that play a script, races on
purpose, faults, and a runtime that tells what a test left behind."""

from sidetask.models.scripted import call as call
from sidetask.models.scripted import cut as cut
from sidetask.models.scripted import flood as flood
from sidetask.models.scripted import reply as reply
from sidetask.models.scripted import stall as stall
from sidetask.testing.clock import DeadlockError as DeadlockError
from sidetask.testing.clock import VirtualClock as VirtualClock
from sidetask.testing.clock import VirtualLoop as VirtualLoop
from sidetask.testing.clock import virtual_backend as virtual_backend
from sidetask.testing.faults import fails as fails
from sidetask.testing.faults import ignores_cancellation as ignores_cancellation
from sidetask.testing.models import ScriptedModel as ScriptedModel
from sidetask.testing.running import LeakError as LeakError
from sidetask.testing.running import running_runtime as running_runtime
from sidetask.testing.shuffle import ShuffledClock as ShuffledClock
from sidetask.testing.shuffle import ShuffledLoop as ShuffledLoop

__all__ = [
    "DeadlockError",
    "LeakError",
    "ScriptedModel",
    "ShuffledClock",
    "ShuffledLoop",
    "VirtualClock",
    "VirtualLoop",
    "call",
    "cut",
    "fails",
    "flood",
    "ignores_cancellation",
    "reply",
    "running_runtime",
    "stall",
    "virtual_backend",
]
