"""Changes of the states, told as events where anybody reads them.

A write costs nothing more as long as nobody does: a state is listened to from the first reader of
its conversation's events on, or of all events, to the last.
"""

from contextlib import suppress
from functools import partial

from sidetask.core.errors import StateClosedError
from sidetask.core.events import StateChanged
from sidetask.core.ids import ConversationId
from sidetask.state.provenance import Change
from sidetask.state.state import StateView
from sidetask.state.watch import Condition, When
from sidetask.tasks.aio.outbox import Journal, Outbox
from sidetask.tasks.aio.streams import Stream

_ANY = Condition("", lambda _: True)


class StateTeller:
    """Tells of the states of all conversations that are open."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._told: dict[ConversationId, StateView] = {}
        self._heard: dict[ConversationId, When] = {}
        """Those that are listened to now."""
        self._look_at = self._look  # kept: a method is made anew whenever it is looked up
        outbox.everything.on_readers = self._look_at_all

    def open(self, conversation_id: ConversationId, state: StateView) -> None:
        self._told[conversation_id] = state
        journal = self._outbox.journal(conversation_id)
        journal.on_readers = self._look_at
        self._look(journal)

    def close(self, conversation_id: ConversationId) -> None:
        self._told.pop(conversation_id, None)
        journal = self._outbox.find(conversation_id)
        if journal is not None:
            journal.on_readers = None
        self._stop(conversation_id)

    def _look_at_all(self, _: Stream) -> None:
        for conversation_id in self._told:
            self._look(self._outbox.journal(conversation_id))

    def _look(self, journal: Journal) -> None:
        """A reader has come or gone: listen if somebody reads, and no longer."""
        key = journal.conversation_id
        wanted = journal.readers or self._outbox.everything.readers
        if wanted and key not in self._heard:
            with suppress(StateClosedError):  # a fork that is done: it changes no more
                self._heard[key] = self._told[key].when(_ANY, partial(_tell, journal))
        elif key in self._heard and not wanted:
            self._stop(key)

    def _stop(self, conversation_id: ConversationId) -> None:
        when = self._heard.pop(conversation_id, None)
        if when is not None:
            when.cancel()


def _tell(journal: Journal, change: Change) -> None:
    by = change.provenance
    journal.tell_readers(
        StateChanged,
        key=change.key,
        version=change.version,
        created=change.created,
        deleted=change.deleted,
        source=by.source,
        task_id=by.task_id,
    )
