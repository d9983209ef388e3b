"""The gates of all API keys.

One `Quota` serves every agent of the process, whatever runtime it lives in, unless a runtime is
given its own. Keys are digests: a `Model` tells its `quota_key`, and no secret comes here.

Where a store is shared by many processes, what happens here is told (`share`) and what happened
elsewhere is taken (`take`); a pace is each process's own.
"""

import math
from collections.abc import Callable
from os import urandom
from threading import Lock

from sidetask.agents.quota.gate import Gate, GateStatus, now
from sidetask.agents.quota.pace import Pace
from sidetask.core.errors.checks import check_count, check_positive, check_seconds
from sidetask.tasks.aio.tokens import CancelToken

MAX_WAIT = 600.0
"""Seconds that a call waits for its gate at most."""
MAX_RETRIES = 3
"""Times that a refused call is sent again, when its turn has come."""


def _chance() -> float:
    """A number from 0 to 1. The module `random` would be a hundredth of the whole import."""
    return int.from_bytes(urandom(4)) / 2**32


class Quota:
    """Parks the calls of a key after a 429 or a quota error.

    `max_wait` is the longest wait in seconds; `max_retries` how often a refused call is sent
    again: 0 for a host that retries by itself, whose calls wait at the gate all the same.
    """

    def __init__(
        self,
        *,
        max_wait: float = MAX_WAIT,
        max_retries: int = MAX_RETRIES,
        jitter: Callable[[], float] = _chance,
    ) -> None:
        check_seconds("max_wait", max_wait, or_zero=True)
        check_count("max_retries", max_retries, least=0)
        self.max_wait = max_wait
        self.max_retries = max_retries
        self._jitter = jitter
        self._gates: dict[str, Gate] = {}
        self._lock = Lock()
        """Guards which gates there are, and the number of the last hit."""
        self._last = 0
        self._rpm: float | None = None
        self._tpm: float | None = None
        self._paced = False
        self._tellers: tuple[Callable[[str, bool], None], ...] = ()

    def pace(self, *, rpm: float | None = None, tpm: float | None = None) -> None:
        """Keep every key below so many requests and tokens a minute, before a provider objects.

        Raises:
            ConfigurationError: Not above 0.
        """
        for name, limit in (("rpm", rpm), ("tpm", tpm)):
            if limit is not None:
                check_positive(name, limit)
        self._rpm, self._tpm = rpm, tpm
        self._paced = rpm is not None or tpm is not None
        for gate in self._gates.values():
            self._set_pace(gate)

    async def wait(
        self, key: str, *, background: bool = False, cancellation: CancelToken | None = None
    ) -> int | None:
        """Wait until a call with this key may be sent. Returns a ticket for what the call comes
        to (`record_hit`, `record_success`); None when the token was cancelled meanwhile.

        Raises:
            QuotaExceededError: It would take longer than `max_wait`; nothing is to be sent.
        """
        gate = self._gate(key) if self._paced else self._gates.get(key)
        if gate is not None and not await gate.enter(
            background=background, max_wait=self.max_wait, token=cancellation
        ):
            return None
        return self._last

    def is_free(self, key: str) -> bool:
        """Whether calls with this key pass at once, and nothing is to be noted of them."""
        return key not in self._gates and not self._paced

    def ticket(self) -> int:
        """The ticket of a call that is sent now, by whoever has looked that the key is open."""
        return self._last

    def record_hit(
        self, key: str, retry_after: float | None = None, *, ticket: int | None = None
    ) -> float:
        """The provider refused with a 429 or a quota error, and perhaps said for how many
        seconds. Returns in how many seconds the gate opens."""
        asked = retry_after if retry_after is not None and math.isfinite(retry_after) else 0.0
        jitter = 0.5 + self._jitter() / 2
        with self._lock:
            number = self._last + 1
            opens_in = self._gate(key).hit(number, ticket, at_least=asked, jitter=jitter)
            self._last = number  # who passed before has an older ticket
        for tell in self._tellers:
            tell(key, False)
        return opens_in

    def record_success(self, key: str, ticket: int, *, tokens: int = 0) -> None:
        """The provider answered: the next refusal begins with a short backoff again."""
        if key not in self._gates:
            return
        with self._lock:
            gate = self._gate(key)
            ends = gate.succeeded(ticket, tokens)
            if not gate.is_needed:
                del self._gates[key]
        for tell in self._tellers if ends else ():
            tell(key, True)

    # -- other processes -----------------------------------------------------------------------

    def share(self, tell: Callable[[str, bool], None]) -> Callable[[], None]:
        """Call `tell(key, succeeded)` when a call of this process was refused, or was answered
        after refusals; in the thread where that happened. Returns what ends it."""
        self._tellers = (*self._tellers, tell)

        def end() -> None:
            self._tellers = tuple([each for each in self._tellers if each != tell])

        return end

    def take(self, key: str, *, opens_in: float, hits: int | None) -> None:
        """Another process has been refused: nobody passes for `opens_in` seconds, and `hits` is
        how often in a row it was, over all processes; None: as is known here. A longer window
        that is known here stands."""
        if key not in self._gates and opens_in <= 0 and not hits:
            return
        with self._lock:
            number = self._last + 1
            gate = self._gate(key)
            gate.take(number, opens_in=opens_in, hits=hits)
            self._last = number
            if not gate.is_needed:
                del self._gates[key]

    # -- looking -------------------------------------------------------------------------------

    def closed_for(self, key: str) -> float:
        """Seconds until the key's window ends; 0: it is open."""
        gate = self._gates.get(key)
        return gate.closed_for if gate is not None else 0.0

    def status(self) -> list[GateStatus]:
        """The gates that are closed, have a line or a pace, or were hit since the last success."""
        return [gate.status() for gate in tuple(self._gates.values()) if gate.is_needed]

    def status_of(self, key: str) -> GateStatus | None:
        """One key's gate; None: nothing is remembered of it."""
        gate = self._gates.get(key)
        return gate.status() if gate is not None else None

    def _gate(self, key: str) -> Gate:
        gate = self._gates.get(key)
        if gate is None:
            gate = self._gates.setdefault(key, Gate(key))  # atomic: threads share it
            self._set_pace(gate)
        return gate

    def _set_pace(self, gate: Gate) -> None:
        at = now()
        gate.requests = Pace(self._rpm, at) if self._rpm is not None else None
        gate.tokens = Pace(self._tpm, at) if self._tpm is not None else None


_shared = Quota()


def process_quota() -> Quota:
    """The one that all runtimes of this process share."""
    return _shared
