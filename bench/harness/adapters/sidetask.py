"""sidetask, through its public API. The code that imports it stands in `_sidetask.py`."""

from __future__ import annotations

from ..base import AgentAdapter, CancelAdapter, DispatchAdapter, FanoutAdapter, Meta

META = Meta(
    name="sidetask",
    dist="sidetask",
    imports="from sidetask import Agent, Runtime, tool",  # each name is loaded when it is used
    note="one runtime; a task with events and validation for each tool call; caps on",
)


def agent() -> AgentAdapter:
    from ._sidetask import Agent

    return Agent()


def dispatch() -> DispatchAdapter:
    from ._sidetask import Dispatch

    return Dispatch()


def cancel() -> CancelAdapter:
    from ._sidetask import Cancel

    return Cancel()


def fanout() -> FanoutAdapter:
    from ._sidetask_fan import Fanout

    return Fanout()


def events():
    from ._sidetask_fan import Events

    return Events()


def state():
    from ._sidetask_state import state

    return state()


def lag():
    from ._sidetask_state import Load

    return Load()
