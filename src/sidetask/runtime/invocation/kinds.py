"""Which events a listener wants, and in which shape."""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from sidetask.core.errors import ConfigurationError
from sidetask.core.events import VIEWS, Event, EventKind, view
from sidetask.core.ids import ConversationId

Kinds: TypeAlias = EventKind | str | Iterable[EventKind | str]


class Wanted:
    """A filter of kinds, run and conversation."""

    __slots__ = ("_conversation_id", "_kinds", "_run_id", "_sources", "_views", "as_they_are")

    def __init__(self, kinds: Kinds, run_id: str | None, conversation_id: str | None) -> None:
        """
        Raises:
            ConfigurationError: No such kind, or none at all.
        """
        found = _kinds(kinds)
        self._views = tuple([VIEWS[kind] for kind in EventKind if kind in found and kind in VIEWS])
        self._sources = tuple([_source(made) for made in self._views])
        self._kinds = None if EventKind.ANY in found else found - VIEWS.keys()
        self._run_id = run_id
        self._conversation_id = conversation_id and ConversationId(conversation_id)
        self.as_they_are = not self._views
        """No views are wanted."""

    def filter(self) -> Callable[[Event], bool] | None:
        """For a subscription: None lets everything through."""
        if self._kinds is None and self._run_id is None and self._conversation_id is None:
            return None
        return self._fits

    def shapes(self, event: Event) -> list[Event]:
        """The event as it is wanted: itself, or views of it, or both."""
        found = [view(event, made) for made in self._views]
        told = [each for each in found if each is not None]
        is_wanted = self._kinds is None or event.kind in self._kinds
        return [event, *told] if is_wanted else told

    def _fits(self, event: Event) -> bool:
        if self._run_id is not None and event.run_id != self._run_id:
            return False
        if self._conversation_id is not None and event.conversation_id != self._conversation_id:
            return False
        kinds = self._kinds
        return kinds is None or event.kind in kinds or isinstance(event, self._sources)


def _kinds(kinds: Kinds) -> frozenset[EventKind]:
    words = [kinds] if isinstance(kinds, str) else list(kinds)
    try:
        found = frozenset([EventKind(word) for word in words])
    except ValueError as error:
        raise ConfigurationError(f"no such kind of event: {error}") from None
    if not found:
        raise ConfigurationError("name a kind of event, or 'any'")
    return found


def _source(made: type[Event]) -> type[Event]:
    return vars(made)["of"]
