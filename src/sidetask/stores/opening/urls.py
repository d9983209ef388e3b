"""Opening a database that a URL names, by the library that it needs."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from sidetask.core.errors import ConfigurationError, MissingExtraError
from sidetask.stores.base import Store

FORMS = "'memory:', 'sqlite:///file.db' or 'postgresql://user@host/database'"


def open_database(url: str) -> Store:
    """As `open_store`, which says what is raised."""
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
