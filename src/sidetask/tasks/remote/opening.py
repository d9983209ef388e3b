"""Opening the way to other processes, where the store knows any."""

from typing import TYPE_CHECKING

from sidetask.core.errors import ConfigurationError
from sidetask.stores.base import Store
from sidetask.stores.members import Members, NoMembers
from sidetask.stores.queue import Queue
from sidetask.tasks.elsewhere import Elsewhere, Placement
from sidetask.tasks.wiring import Parts

if TYPE_CHECKING:  # for who keeps tasks: every program has this module
    from sidetask.tasks.durable.keeper import StoreKeeper

_WORDS = ("auto", "here", "workers")


def check_placement(placement: str, store: Store | None) -> None:
    """Refuse what cannot be.

    Raises:
        ConfigurationError: No such word, or the store knows no workers.
    """
    if placement not in _WORDS:
        words = ", ".join(map(repr, _WORDS))
        raise ConfigurationError(f"background is one of {words}, not {placement!r}")
    if placement == "workers" and _shared(store) is None:
        raise ConfigurationError(
            "background='workers' needs a store that workers share: give store='postgresql://...'"
        )


def open_elsewhere(
    parts: Parts, keeper: "StoreKeeper", store: Store, placement: Placement
) -> Elsewhere | None:
    """Who has calls carried out elsewhere; None: the store knows nobody."""
    shared = _shared(store)
    if shared is None:
        return None
    # For who has workers: every program has this module, and few have those.
    from sidetask.tasks.remote.home import Home  # noqa: PLC0415

    return Home(parts, keeper, store, *shared, placement)


def _shared(store: Store | None) -> tuple[Queue, Members] | None:
    """The queue and the members of a store; an application's own may have neither."""
    queue: Queue | None = getattr(store, "queue", None)
    members: Members | None = getattr(store, "members", None)
    if store is None or not store.durable or queue is None or members is None:
        return None
    return None if isinstance(members, NoMembers) else (queue, members)
