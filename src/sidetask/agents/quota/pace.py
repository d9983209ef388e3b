"""A rate that is kept ahead of any 429: so many requests, or tokens, a minute."""


class Pace:
    """A bucket that refills evenly and holds one minute's worth.

    What a call consumes is known only when it has ended, so the bucket is charged afterwards and
    may be overdrawn: then nobody starts until it is above zero again. That is why it is not one
    of the limiters that are charged ahead.
    """

    __slots__ = ("_at", "_level", "per_minute")

    def __init__(self, per_minute: float, now: float) -> None:
        self.per_minute = per_minute
        self._level = per_minute
        self._at = now

    def ready_at(self, need: float, now: float) -> float:
        """When the bucket will hold `need`; a need beyond a whole minute's worth waits for that
        minute's worth."""
        self._refill(now)
        missing = min(need, self.per_minute) - self._level
        return now if missing <= 0 else now + missing * 60.0 / self.per_minute

    def take(self, amount: float, now: float) -> None:
        """Note what was consumed."""
        self._refill(now)
        self._level -= amount

    def _refill(self, now: float) -> None:
        gained = max(0.0, now - self._at) * self.per_minute / 60.0
        self._level = min(self.per_minute, self._level + gained)
        self._at = now
