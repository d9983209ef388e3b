"""The test kit: time that does not have to be waited for, races on purpose, faults."""

from sidetask.testing.clock import DeadlockError as DeadlockError
from sidetask.testing.clock import VirtualClock as VirtualClock
from sidetask.testing.clock import VirtualLoop as VirtualLoop
from sidetask.testing.clock import virtual_backend as virtual_backend
from sidetask.testing.faults import ignores_cancellation as ignores_cancellation
from sidetask.testing.shuffle import ShuffledClock as ShuffledClock
from sidetask.testing.shuffle import ShuffledLoop as ShuffledLoop

__all__ = [
    "DeadlockError",
    "ShuffledClock",
    "ShuffledLoop",
    "VirtualClock",
    "VirtualLoop",
    "ignores_cancellation",
    "virtual_backend",
]
