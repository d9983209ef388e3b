"""How a call is carried out: its route, and the axes of its policy.

The axes are separate on purpose. "Background" says who waits and nothing else; who hears
of the end, and what a Stop, a duplicate or a crash does, are other questions.
"""

from dataclasses import replace
from enum import StrEnum
from typing import Literal, TypeAlias

from sidetask.core.errors import ConfigurationError
from sidetask.core.errors.checks import check_count, check_seconds
from sidetask.core.ids import value


class TaskKind(StrEnum):
    """Who waits for a task."""

    FOREGROUND = "foreground"
    """Its turn waits."""
    BACKGROUND = "background"
    """Nobody waits. A detached task is a background task that began in the foreground."""


class DeliveryMode(StrEnum):
    """Who takes the result of a background task."""

    TO_LOOP = "to_loop"
    """The conversation, as a notification."""
    MANUAL = "manual"
    """The host, by `drain_ready_items`."""


class OnComplete(StrEnum):
    """What the end of a background task does to its conversation."""

    CONTINUE = "continue"
    """Wakes it when idle; otherwise the next model call hears of it."""
    NOTIFY = "notify"
    """Waits for the next model call, whenever that is."""
    INTERRUPT = "interrupt"
    """Cuts a reply that is streaming, never a tool; otherwise as `continue`."""


class OnInterrupt(StrEnum):
    """What a user's Stop does to a task."""

    CANCEL = "cancel"
    KEEP = "keep"
    """It lives on; a foreground task is detached."""


class OnDuplicate(StrEnum):
    """What a call does that finds the same tool alive with the same arguments."""

    ALLOW = "allow"
    REJECT = "reject"
    REPLACE = "replace"
    """The old one is cancelled."""
    JOIN = "join"
    """No second task; both calls are answered by the one that is alive."""


class OnCrash(StrEnum):
    """What a restart does with a task that was running when the process died."""

    FAIL = "fail"
    """The model is told that the outcome is unknown."""
    RETRY = "retry"
    ASK = "ask"


@value
class Route:
    """Whether, and for how long, a call holds up its turn."""

    kind: TaskKind
    after: float | None = None
    """Seconds that a foreground call may hold up its turn; then it is detached."""

    def __call__(self, call: object) -> "Route":
        """Itself: a route is also the routing policy that gives it to every call."""
        return self


_FOREGROUND = Route(TaskKind.FOREGROUND)
_BACKGROUND = Route(TaskKind.BACKGROUND)


def foreground() -> Route:
    """The turn waits for the result."""
    return _FOREGROUND


def background() -> Route:
    """The turn goes on at once; the result comes as a notification."""
    return _BACKGROUND


def detach_after(seconds: float) -> Route:
    """The turn waits up to `seconds`; then the task goes on in the background.

    Raises:
        ConfigurationError: `seconds` is negative or not a number.
    """
    check_seconds("detach_after", seconds, or_zero=True)
    return Route(TaskKind.FOREGROUND, seconds)


DeliveryModeLike: TypeAlias = DeliveryMode | Literal["to_loop", "manual"]
OnCompleteLike: TypeAlias = OnComplete | Literal["continue", "notify", "interrupt"]
OnInterruptLike: TypeAlias = OnInterrupt | Literal["cancel", "keep"]
OnDuplicateLike: TypeAlias = OnDuplicate | Literal["allow", "reject", "replace", "join"]
OnCrashLike: TypeAlias = OnCrash | Literal["fail", "retry", "ask"]


def _member(kind: type[StrEnum], axis: str, value: str) -> StrEnum:
    try:
        return kind(value)
    except ValueError:
        words = ", ".join(repr(member.value) for member in kind)
        raise ConfigurationError(f"{axis} is one of {words}, not {value!r}") from None


@value(kw_only=True, frozen=True)
class TaskPolicy:
    """The axes of one task. Each enum's string is accepted too; both ends are checked.

    Raises:
        ConfigurationError: A word that is no member of its axis, or a number out of range.
    """

    delivery: DeliveryModeLike = DeliveryMode.TO_LOOP
    on_complete: OnCompleteLike = OnComplete.CONTINUE
    on_interrupt: OnInterruptLike | None = None
    """None: `cancel` while its turn waits for it, `keep` once it is in the background."""
    on_duplicate: OnDuplicateLike = OnDuplicate.ALLOW
    on_crash: OnCrashLike = OnCrash.FAIL
    idempotent: bool = False
    """Running it twice does no harm. `on_crash="retry"` needs it."""
    timeout: float | None = None
    """Seconds that one attempt may run; waiting for a permit or an approval does not count."""
    grace: float = 5.0
    """Seconds that its clean-up may take after a cancel or a timeout."""
    cap: int | None = None
    """How many tasks of this name may run at once in the manager."""
    exclusive: bool = False
    """Runs alone among the foreground calls of its turn."""
    journal: bool = True
    """False for cheap pure tools: a durable engine does not record it."""
    repeatable: bool = False
    """The same call again and again is no doom loop: for tools that poll or wait."""
    control: bool = False
    """Takes no permit: for tools that look after other tasks and must not queue behind them."""

    def __post_init__(self) -> None:
        set_ = object.__setattr__  # the documented way to normalise a frozen dataclass
        set_(self, "delivery", _member(DeliveryMode, "delivery", self.delivery))
        set_(self, "on_complete", _member(OnComplete, "on_complete", self.on_complete))
        if self.on_interrupt is not None:
            set_(self, "on_interrupt", _member(OnInterrupt, "on_interrupt", self.on_interrupt))
        set_(self, "on_duplicate", _member(OnDuplicate, "on_duplicate", self.on_duplicate))
        set_(self, "on_crash", _member(OnCrash, "on_crash", self.on_crash))
        if self.on_crash is OnCrash.RETRY and not self.idempotent:
            raise ConfigurationError("on_crash='retry' needs idempotent=True")
        if self.timeout is not None:
            check_seconds("timeout", self.timeout)
        check_seconds("grace", self.grace, or_zero=True)
        if self.cap is not None:
            check_count("cap", self.cap)

    def with_(
        self,
        *,
        delivery: DeliveryModeLike | None = None,
        on_complete: OnCompleteLike | None = None,
    ) -> "TaskPolicy":
        """The same policy with another delivery or reaction to the end."""
        return replace(
            self,
            delivery=self.delivery if delivery is None else delivery,
            on_complete=self.on_complete if on_complete is None else on_complete,
        )


DEFAULT_POLICY = TaskPolicy()
