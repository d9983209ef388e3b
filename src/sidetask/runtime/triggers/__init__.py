"""Turns and dispatches that no user asks for: by the clock, by the state, by files, by code.

The face: the public names, each loaded when it is first used. `__init__.pyi` beside this file
tells type checkers the same names.
"""

from sidetask.core import face

_HOMES = {
    "Then": "sidetask.runtime.triggers.base",
    "Trigger": "sidetask.runtime.triggers.base",
    "TriggerContext": "sidetask.runtime.triggers.base",
    "cron": "sidetask.runtime.triggers.schedule",
    "every": "sidetask.runtime.triggers.schedule",
    "on_file_change": "sidetask.runtime.triggers.watching",
    "on_state": "sidetask.runtime.triggers.watching",
}
"""Where each public name is defined."""

__all__, __getattr__, __dir__ = face(globals(), _HOMES)  # pyright: ignore[reportUnsupportedDunderAll] - the stub names them
