"""Finding an engine by its name.

Its library is imported when it is opened: importing this costs nothing.
"""

from sidetask.core.errors import ConfigurationError, MissingExtraError
from sidetask.core.errors.checks import check_like
from sidetask.engines.base import Engine


def given_engine(engine: str | Engine | None, url: object) -> Engine | None:
    """The engine that was given, or that was named: see `open_engine`."""
    if isinstance(engine, str):
        return open_engine(engine, url)
    if engine is not None:
        check_like("engine", engine, "Engine", has="submit")
    return engine


def open_engine(name: str, url: object) -> Engine:
    """Return the engine that is called so. `"dbos"`: workflows of DBOS, in the database at `url`.

    Raises:
        ConfigurationError: There is none of this name, or no database for it; or it runs in this
            process already.
        MissingExtraError: Its library is not installed.
    """
    if name != "dbos":
        raise ConfigurationError(f"no engine {name!r}: it is 'dbos', or an engine")
    if not isinstance(url, str) or not url.startswith(("sqlite:", "postgres")):
        raise ConfigurationError(
            "engine='dbos' needs a database: store='sqlite:///file.db' or 'postgresql://...'"
        )
    try:
        from sidetask.engines.dbos import DbosEngine  # noqa: PLC0415 - opened by name
    except ImportError as error:
        raise MissingExtraError("the engine 'dbos'", "durable") from error
    return DbosEngine(url)
