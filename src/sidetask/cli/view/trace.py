"""Lanes at the end of a chat: `--trace`."""

import sys
from collections.abc import Callable

from sidetask.cli.view.lanes import drawn, lanes
from sidetask.cli.view.screen import Screen
from sidetask.core.events import Event, Lagged

See = Callable[[Event | Lagged], None]

KEPT = 100_000
"""Events that a picture is made of at most, the first ones."""


def traced(see: See, wanted: bool) -> tuple[See, list[Event]]:
    """What is shown each event, and the facts that it was shown, if they are wanted."""
    told: list[Event] = []
    if not wanted:
        return see, told

    def note(event: Event | Lagged) -> None:
        if isinstance(event, Event) and not event.live and len(told) < KEPT:
            told.append(event)
        see(event)

    return note, told


def show_lanes(told: list[Event]) -> None:
    """Draw what was noted; on standard error, as it is no part of the answer."""
    for line in drawn(lanes(told)):
        print(Screen(styled=sys.stderr.isatty()).drawn(line), file=sys.stderr, flush=True)
