"""Turns and dispatches that no user asks for: by the clock, by the state, by files, by code.

The face: the public names, each loaded when it is first used. `__init__.pyi` beside this file
tells type checkers the same names.
"""

from importlib import import_module

_HOMES = {
    "Then": "base",
    "Trigger": "base",
    "TriggerContext": "base",
    "cron": "schedule",
    "every": "schedule",
    "on_file_change": "watching",
    "on_state": "watching",
}
"""Where each public name is defined."""

__all__ = list(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll] - the stub names them


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = found  # the next look finds it at once
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
