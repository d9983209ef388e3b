"""Finding a store by its URL.

A database's library is imported when one of its stores is opened: importing this costs nothing.
"""

from sidetask.core.errors import ConfigurationError
from sidetask.core.errors.checks import check_kind
from sidetask.stores.base import Store
from sidetask.stores.memory import MemoryStore


def given_store(store: str | Store) -> Store:
    """The store that was given, or that was named: see `open_store`."""
    if isinstance(store, str):
        return open_store(store)
    if not isinstance(getattr(store, "durable", None), bool):  # callers may not be typed
        from sidetask.stores.opening.urls import FORMS  # noqa: PLC0415 - as below

        raise ConfigurationError(f"{type(store).__name__} is no store: give a URL, {FORMS}")
    return store


def open_store(url: str) -> Store:
    """Return the store that `url` names. It is opened by `start()`, or by its first use.

    `memory:` forgets at exit; `sqlite:///file.db` is a file in the current folder, and
    `sqlite:////var/lib/file.db` one at an absolute path; `postgresql://...` is what libpq takes.

    Raises:
        ConfigurationError: There is no such sort of store, or the URL names no database.
        MissingExtraError: Its library is not installed.
    """
    check_kind("the URL of a store", url, str)
    if url == "memory:":
        return MemoryStore()
    from sidetask.stores.opening.urls import open_database  # noqa: PLC0415 - opened by name

    return open_database(url)
