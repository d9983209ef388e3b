"""Whether a turn goes round in circles: the same call, or the same row of calls, over and over.

A row of 1 to 4 calls that comes 3 times without another call in between is a doom loop. The
first one in a turn is answered with an error that tells the model; with the second one the
turn ends. Two calls are the same when name and canonical arguments are: the order of keys does
not matter. What one reply asks for several times counts once, for the model has seen no answer
in between. A tool that may repeat (`TaskPolicy(repeatable=True)`) counts as another call each
time, so what is done between two looks at a clock is no loop either.

For each length of a row there is one counter: how many calls on end were the same as the one
that many calls before. So a call costs four comparisons, however long the turn is.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

from sidetask.core.errors import DoomLoopError, InvalidInputError
from sidetask.core.ids import CallId, value
from sidetask.core.jsons import canonical
from sidetask.core.messages import ToolCall
from sidetask.core.routing import TaskPolicy

REPEATS = 3
"""How often a row may not come."""
LONGEST = 4
"""Calls in a row that is looked for."""


Key: TypeAlias = tuple[str, object]
"""The name of a call, and what tells it from others of this name."""


class Repeating(Protocol):
    """A tool, as far as it matters here."""

    @property
    def policy(self) -> TaskPolicy: ...


@value
class Loop:
    """A row of calls that came too often, and the call that was one too many."""

    call_id: CallId
    names: tuple[str, ...]

    @property
    def warning(self) -> str:
        """What the model reads as the answer to the call."""
        what = "this call with these arguments"
        if len(self.names) > 1:
            what = f"the row of calls {', '.join(self.names)} with these arguments"
        return (
            f"Not run: {what} came {REPEATS} times in a row. Its result will not change. Do"
            " something else, or answer with what you have: if it comes again, the turn ends."
        )


class DoomWatch:
    """Watches the calls of one turn."""

    __slots__ = ("_first", "_last", "_runs", "_tools", "_warned")

    def __init__(self, tools: Mapping[str, Repeating]) -> None:
        self._tools = tools
        self._first: Sequence[ToolCall] = ()
        """The turn's first calls. Most turns have no others, and then nothing is compared."""
        self._last: deque[Key] | None = None
        self._runs: list[int]
        self._warned = False

    def look(self, calls: Sequence[ToolCall]) -> dict[CallId, Loop]:
        """Look at the calls of a reply; returns those that close a loop: they are not to be run.

        Raises:
            DoomLoopError: The model was told before, and goes on. None of the calls is to be run.
        """
        if not self._first:
            self._first = calls
            return {}
        if self._last is None:
            self._last, self._runs = deque(maxlen=LONGEST), [0] * LONGEST
            self._follow(self._first, self._last)
        loops = self._follow(calls, self._last)
        if loops and self._warned:
            raise DoomLoopError(next(iter(loops.values())).names)
        self._warned = self._warned or bool(loops)
        return loops

    def _follow(self, calls: Sequence[ToolCall], last: deque[Key]) -> dict[CallId, Loop]:
        seen: dict[Key, int] = {}
        loops: dict[CallId, Loop] = {}
        for call in calls:
            key = self._key(call)
            length = seen.get(key)
            if length is None:
                length = seen[key] = self._count(key, last)
                last.append(key)
            if length:
                loops[call.id] = Loop(call.id, tuple([name for name, _ in last][-length:]))
        return loops

    def _count(self, key: Key, last: deque[Key]) -> int:
        """Bring the counters up to date; returns the length of the shortest row that came too
        often, or 0."""
        if key not in last and not any(self._runs):  # the usual case
            return 0
        found = 0
        for length in range(LONGEST, 0, -1):
            same = len(last) >= length and last[-length] == key
            self._runs[length - 1] = run = self._runs[length - 1] + 1 if same else 0
            if run >= length * (REPEATS - 1):
                found = length
        return found

    def _key(self, call: ToolCall) -> Key:
        tool = self._tools.get(call.name)
        if tool is not None and tool.policy.repeatable:
            return call.name, object()
        try:
            return call.name, canonical(call.parsed())
        except (InvalidInputError, ValueError, RecursionError):
            # The tool will say what is wrong; the same nonsense is the same call.
            return call.name, call.arguments
