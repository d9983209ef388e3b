"""Where flows keep what guards ask of them: the reserved keys of the state.

Neither a flow's name nor those of steps and tools have a colon, so a key says whose it is.
"""

from collections.abc import Callable
from typing import Final

from sidetask.state.state import StateView

FLOWS: Final = "flow:"
"""What the reserved keys of flows begin with."""
DONE: Final = "done"
"""What is kept of a step that is done."""


def call_key(flow: str, tool: str) -> str:
    """Where a flow keeps what it knows of a tool's calls."""
    return f"{FLOWS}{flow}:call:{tool}"


def step_key(flow: str, step: str) -> str:
    """Where a flow keeps how far a step is."""
    return f"{FLOWS}{flow}:step:{step}"


def succeeded(state: StateView, key: str) -> int:
    """How many calls succeeded, by the key where that is kept."""
    kept = state.get(key)
    count = kept.get("succeeded") if isinstance(kept, dict) else None
    return count if isinstance(count, int) else 0


def still_open(state: StateView, key: str) -> tuple[str, ...]:
    """The tasks that have not ended, by the key where that is kept."""
    kept = state.get(key)
    ids = kept.get("open") if isinstance(kept, dict) else None
    return tuple([str(each) for each in ids]) if isinstance(ids, list) else ()


def meant(
    state: StateView, flow: str, key_of: Callable[[str, str], str], name: str
) -> tuple[str, ...]:
    """The keys of this name: of a flow, or "", of any."""
    if flow:
        return (key_of(flow, name),)
    end = key_of("", name).removeprefix(FLOWS)
    return tuple([key for key in state.keys(FLOWS) if key.endswith(end)])
