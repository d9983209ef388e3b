"""Finding a store by its URL.

A database's library is imported when one of its stores is opened: importing this costs nothing.
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from sidetask.core.errors import ConfigurationError, MissingExtraError
from sidetask.stores.base import Store
from sidetask.stores.memory import MemoryStore

FORMS = "'memory:', 'sqlite:///file.db' or 'postgresql://user@host/database'"


def open_store(url: str) -> Store:
    """Return the store that `url` names. It is opened by `start()`, or by its first use.

    `memory:` forgets at exit; `sqlite:///file.db` is a file in the current folder, and
    `sqlite:////var/lib/file.db` one at an absolute path; `postgresql://...` is what libpq takes.

    Raises:
        ConfigurationError: There is no such sort of store, or the URL names no database.
        MissingExtraError: Its library is not installed.
    """
    if url == "memory:":
        return MemoryStore()
    scheme, has_place, _ = url.partition("://")
    if scheme == "sqlite":
        return _open_sqlite(url)
    if scheme in ("postgresql", "postgres") and has_place:
        return _open_postgres(url)
    raise ConfigurationError(f"no store {_shown(url)!r}: it is {FORMS}")


def _open_sqlite(url: str) -> Store:
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/"))
    if not url.startswith("sqlite:///") or not path or path == ":memory:" or parts.query:
        raise ConfigurationError(
            f"{url!r} names no file: it is 'sqlite:///file.db', with one slash more for an "
            "absolute path; 'memory:' is the store that forgets"
        )
    from sidetask.stores.sql.sqlite import sqlite_store  # noqa: PLC0415 - opened by name

    return sqlite_store(Path(path))


def _open_postgres(url: str) -> Store:
    try:
        from sidetask.stores.sql.postgres import postgres_store  # noqa: PLC0415 - opened by name
    except ImportError as error:
        raise MissingExtraError("a Postgres store", "durable") from error
    return postgres_store(url)


def _shown(url: str) -> str:
    """The URL without a password."""
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":***@") if parts.password else url
