"""Time, as something handed in."""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time. Tests hand in one that they move."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...


class SystemClock:
    """The machine's clock."""

    now = staticmethod(time.time)
