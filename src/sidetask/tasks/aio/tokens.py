"""Asking work to stop, as something to look at and to wait for."""

from collections.abc import Callable

from sidetask.tasks.aio.sleepers import Sleepers, sleep_among, wake_all


class CancelToken:
    """Becomes true once, and takes its children with it. Used from the event loop's thread;
    reading `is_cancelled` is safe from any thread."""

    __slots__ = ("_children", "_listeners", "_parent", "_sleepers", "is_cancelled", "reason")

    def __init__(self, parent: "CancelToken | None" = None) -> None:
        self.is_cancelled = False
        self.reason = ""
        self._children: dict[CancelToken, None] | None = None  # ordered, unlike a set
        self._listeners: dict[Callable[[], None], None] | None = None
        self._sleepers: Sleepers | None = None
        self._parent: CancelToken | None = None
        if parent is not None:
            self.move_to(parent)

    def __bool__(self) -> bool:
        return self.is_cancelled

    def __hash__(self) -> int:
        return id(self)

    def cancel(self, reason: str = "cancelled") -> None:
        """Turn true, call every listener, and cancel every child. Later calls do nothing."""
        if self.is_cancelled:
            return
        self.is_cancelled = True
        self.reason = reason
        self.move_to(None)
        listeners, self._listeners = self._listeners, None
        children, self._children = self._children, None
        for listener in listeners or ():
            listener()
        if self._sleepers is not None:
            wake_all(self._sleepers)
        for child in children or ():
            child.cancel(reason)

    def move_to(self, parent: "CancelToken | None") -> None:
        """Become a child of `parent`, or of nobody. A cancelled parent cancels at once."""
        if self._parent is not None and self._parent._children is not None:  # noqa: SLF001
            self._parent._children.pop(self, None)  # noqa: SLF001
        self._parent = parent
        if parent is None:
            return
        if parent.is_cancelled:
            self.cancel(parent.reason)
        elif parent._children is None:  # noqa: SLF001
            parent._children = {self: None}  # noqa: SLF001
        else:
            parent._children[self] = None  # noqa: SLF001

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the token turns true; at once if it already is."""
        if self.is_cancelled:
            listener()
        elif self._listeners is None:
            self._listeners = {listener: None}
        else:
            self._listeners[listener] = None

    def unlisten(self, listener: Callable[[], None]) -> None:
        if self._listeners is not None:
            self._listeners.pop(listener, None)

    async def wait(self) -> None:
        """Wait until the token is cancelled."""
        while not self.is_cancelled:
            await sleep_among(self.sleepers)

    @property
    def sleepers(self) -> Sleepers:
        """Who sleep until it is cancelled, among others."""
        if self._sleepers is None:
            self._sleepers = []
        return self._sleepers
