"""Which runtime a worker works for, and in which store.

`--store` says where, as SIDETASK_STORE does: it is put there before the app is loaded, so a runtime
that names no store gets it. A function that makes one is given it, if it takes a `store`. A runtime
that names another store is refused: a worker that listens elsewhere would do nothing, in silence.
"""

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from sidetask.cli import apps
from sidetask.core.errors import ConfigurationError, SidetaskError
from sidetask.runtime.runtime import STORE, Runtime
from sidetask.stores.opening.urls import shown

FORM = "postgresql://host/database"


async def find_runtime(app: str, store: str | None, root: Path) -> Runtime:
    """The runtime that `--app` names, on the store that `--store` names.

    Raises:
        ConfigurationError: There is none, or it keeps its conversations elsewhere, or where there
            are no workers.
    """
    if store is not None:
        _check_store(store, "--store")
        os.environ[STORE] = store
    found = apps.load(app, root, "runtime", Runtime)
    if not isinstance(found, Runtime):
        found = await _made(found, app, store)
    _check_place(found, app, store)
    return found


async def _made(found: object, app: str, store: str | None) -> Runtime:
    if not callable(found):
        raise ConfigurationError(
            f"{app} is {apps.a(type(found).__name__)}, and neither a Runtime nor a function that"
            " makes one"
        )
    make = cast("Callable[..., Any]", found)
    asked = {"store": store} if store is not None and _takes_store(make) else {}
    try:
        made = make(**asked)
        if inspect.isawaitable(made):
            made = await made
    except SidetaskError as error:
        raise ConfigurationError(f"{app}() made no runtime: {error}") from error
    except Exception as error:  # the one boundary: whatever a stranger's function does wrong
        why = f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"{app}() made no runtime: {why}") from error
    if not isinstance(made, Runtime):
        raise ConfigurationError(f"{app}() made {apps.a(type(made).__name__)}, not a Runtime")
    return made


def _takes_store(make: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):
        return False
    found = parameters.get("store")
    return found is not None and found.kind is not inspect.Parameter.POSITIONAL_ONLY


def _check_place(runtime: Runtime, app: str, store: str | None) -> None:
    place = runtime.place
    if store is not None and place != store:
        kept = "opens its store itself" if place is None else f"keeps them in {shown(place)}"
        raise ConfigurationError(
            f"--store says {shown(store)}, and {app} {kept}: leave --store away, or let the runtime"
            " name no store; then --store says where"
        )
    if place is not None:
        _check_store(place, f"the store of {app}")


def _check_store(url: str, where: str) -> None:
    if not url.startswith(("postgresql://", "postgres://")):
        raise ConfigurationError(
            f"workers share a Postgres, and {where} is {shown(url)!r}: --store {FORM}, or {STORE}"
        )
