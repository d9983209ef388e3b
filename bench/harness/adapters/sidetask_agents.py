"""Dispatch of agents by sidetask's orchestration. Its code stands in `_sidetask_agents.py`."""

from __future__ import annotations

from ..base import DispatchAdapter, Meta

META = Meta(
    name="sidetask_agents",
    dist="sidetask",
    imports="from sidetask.orchestration import BackgroundAgentDispatcher",
    note="a task for each run; status, result and provenance in the state",
)


def dispatch() -> DispatchAdapter:
    from ._sidetask_agents import Dispatch

    return Dispatch()
