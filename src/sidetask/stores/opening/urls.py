"""Opening a database that a URL names, by the library that it needs."""

import re
from pathlib import Path
from urllib.parse import unquote

from sidetask.core.errors import ConfigurationError, MissingExtraError
from sidetask.stores.base import Store

SQLITE = "sqlite:///"
FORMS = "'memory:', 'sqlite:///file.db' or 'postgresql://user@host/database'"


_IN_PLACE = re.compile(r"(://[^:/@?#]*):[^?#]*@")
_IN_QUERY = re.compile(r"(password=)[^&]*")


def open_database(url: str) -> Store:
    """As `open_store`, which says what is raised."""
    scheme, has_place, _ = url.partition("://")
    if scheme == "sqlite":
        return _open_sqlite(url)
    if scheme in ("postgresql", "postgres") and has_place:
        return _open_postgres(url)
    raise ConfigurationError(f"no store {shown(url)!r}: it is {FORMS}")


def sqlite_path(url: str) -> Path | None:
    """The file that a URL names; None: it names none."""
    path = unquote(url.removeprefix(SQLITE))
    is_path = url.startswith(SQLITE) and path not in ("", ":memory:") and "?" not in url
    return Path(path) if is_path else None


def shown(url: str) -> str:
    """The URL without a password."""
    return _IN_QUERY.sub(r"\1***", _IN_PLACE.sub(r"\1:***@", url))


def _open_sqlite(url: str) -> Store:
    path = sqlite_path(url)
    if path is None:
        raise ConfigurationError(
            f"{url!r} names no file: it is 'sqlite:///file.db', with one slash more for an "
            "absolute path; 'memory:' is the store that forgets"
        )
    from sidetask.stores.sql.sqlite import sqlite_store  # noqa: PLC0415 - opened by name

    return sqlite_store(path)


def _open_postgres(url: str) -> Store:
    try:
        from sidetask.stores.sql.postgres import postgres_store  # noqa: PLC0415 - opened by name
    except ImportError as error:
        raise MissingExtraError("a Postgres store", "durable") from error
    return postgres_store(url)
