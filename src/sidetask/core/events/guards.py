"""Guards of a run: what they saw, and what they did about it."""

from sidetask.core.events.base import Event, EventKind, fact
from sidetask.core.ids import CallId
from sidetask.core.usage import Usage


@fact
class DoomLoopDetected(Event):
    """The model repeats itself: the same call, or the same row of calls. It is answered with an
    error and not run."""

    kind = EventKind.DOOM_LOOP_DETECTED
    call_id: CallId
    """The call that was one too many."""
    names: tuple[str, ...]
    """The tools of the row that repeats, in order; one name: the same call."""
    repeats: int


@fact
class HistoryCompacted(Event):
    """Old messages make room: from here on the model is given less than the whole history."""

    kind = EventKind.HISTORY_COMPACTED
    index: int
    """The first message of the history that the model still gets as it is."""
    tokens_before: int
    tokens_after: int
    summary: str = ""
    """What stands for the messages before `index`; empty: only tool output was pruned."""
    usage: Usage | None = None
    """What the summary cost."""


@fact
class CompactionCircuitOpened(Event):
    """Compaction has failed several times in a row: the run goes on without, and it is tried
    again later."""

    kind = EventKind.COMPACTION_CIRCUIT_OPENED
    failures: int
    error: str
    """Of the last failure."""
