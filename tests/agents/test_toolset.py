"""Toolsets are shared by those who have the same tools, and by nobody else."""

import gc
from weakref import ref

from sidetask.agents.tools.kept import KeptOutputs
from sidetask.agents.tools.tool import tool
from sidetask.agents.tools.toolset import Toolsets
from sidetask.stores.memory import MemoryStore


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def toolsets() -> Toolsets:
    outputs = KeptOutputs(MemoryStore(), lambda: 0.0)
    return Toolsets((), routed=False, outputs=outputs)


def test_the_same_tools_are_put_together_once() -> None:
    made, tools = toolsets(), (tool(add),)
    first = made.of(tools, None)

    assert made.of(list(tools), None) is first


def test_other_tools_or_another_output_are_another_toolset() -> None:
    made, tools = toolsets(), (tool(add),)
    first = made.of(tools, None)

    assert made.of((tool(add),), None) is not first
    assert made.of(tools, int) is not first


def test_a_toolset_goes_with_the_last_who_has_it() -> None:
    made = toolsets()
    first = made.of((tool(add),), None)
    gone = ref(first)

    del first
    gc.collect()

    assert gone() is None
