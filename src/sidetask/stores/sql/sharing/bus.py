"""News of other processes: one watch, as long as anybody in this one listens.

Who reads conversations and who looks at jobs listen to topics of their own, and are not woken for
each other's.
"""

from collections.abc import Callable

from sidetask.core.ids import ConversationId
from sidetask.stores.sql.driver import JOBS, Driver, Heard
from sidetask.stores.sql.line import Line


class Bus:
    """Tells what other processes have written to those who want to know."""

    def __init__(self, driver: Driver, line: Line) -> None:
        self._driver = driver
        self._line = line
        self._ears: dict[object, Heard] = {}
        self._unwatch: Callable[[], None] | None = None

    def of_conversations(
        self, heard: Callable[[ConversationId | None], None]
    ) -> Callable[[], None]:
        """Tell which conversation has changed, until what is returned is called."""

        def hear(topic: str | None) -> None:
            if topic is None or not topic.startswith(JOBS):  # no topic, or that of all
                heard(ConversationId(topic) if topic else None)

        return self._listen(hear)

    def of_jobs(self, heard: Heard) -> Callable[[], None]:
        """As above: which job, or None, if it is perhaps any or the members."""

        def hear(topic: str | None) -> None:
            if topic is None or topic.startswith(JOBS):
                heard(None if topic is None else topic.removeprefix(JOBS) or None)

        return self._listen(hear)

    def _listen(self, hear: Heard) -> Callable[[], None]:
        ear = object()
        self._ears[ear] = hear
        if self._unwatch is None:
            self._unwatch = self._driver.watch(self._line, self._tell)
        else:
            hear(None)

        def end() -> None:
            self._ears.pop(ear, None)
            if not self._ears:
                self._stop()

        return end

    def end(self) -> None:
        """Watch no longer. Who listens is told to look once more, after the store was closed."""
        self._stop()
        self._tell(None)

    def _stop(self) -> None:
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None

    def _tell(self, topic: str | None) -> None:
        for hear in tuple(self._ears.values()):
            hear(topic)
