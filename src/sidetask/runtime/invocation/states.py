"""Changes of the states, told as events where anybody reads them.

A write costs nothing more as long as nobody does: a state is listened to from the first reader of
its conversation's events on, or of all events, to the last.
"""

from contextlib import suppress

from sidetask.core.errors import StateClosedError
from sidetask.core.events import StateChanged
from sidetask.core.ids import ConversationId
from sidetask.state.provenance import Change
from sidetask.state.state import StateView
from sidetask.state.watch import Condition, When
from sidetask.tasks.aio.outbox import Journal, Outbox

_ANY = Condition("", lambda _: True)


class StateTeller:
    """Tells of the states of all conversations that are open."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._told: dict[ConversationId, _Told] = {}
        outbox.everything.on_readers = self._look

    def open(self, conversation_id: ConversationId, state: StateView) -> None:
        told = _Told(self._outbox, conversation_id, state)
        self._told[conversation_id] = told
        told()

    def close(self, conversation_id: ConversationId) -> None:
        told = self._told.pop(conversation_id, None)
        if told is not None:
            told.close()

    def _look(self) -> None:
        for told in self._told.values():
            told()


class _Told:
    """One state."""

    __slots__ = ("_everything", "_journal", "_state", "_when")

    def __init__(self, outbox: Outbox, conversation_id: ConversationId, state: StateView) -> None:
        self._everything = outbox.everything
        self._journal: Journal = outbox.journal(conversation_id)
        self._journal.on_readers = self
        self._state = state
        self._when: When | None = None

    def __call__(self) -> None:
        """A reader has come or gone: listen if somebody reads, and no longer."""
        wanted = self._journal.readers or self._everything.readers
        if wanted and self._when is None:
            with suppress(StateClosedError):  # a fork that is done: it changes no more
                self._when = self._state.when(_ANY, self._tell)
        elif self._when is not None and not wanted:
            self._stop()

    def close(self) -> None:
        self._journal.on_readers = None
        self._stop()

    def _stop(self) -> None:
        when, self._when = self._when, None
        if when is not None:
            when.cancel()

    def _tell(self, change: Change) -> None:
        by = change.provenance
        self._journal.tell_readers(
            StateChanged,
            key=change.key,
            version=change.version,
            created=change.created,
            deleted=change.deleted,
            source=by.source,
            task_id=by.task_id,
        )
