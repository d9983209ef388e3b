"""A runtime for LLM agents that keep talking while their work goes on.

The face: the public names, each loaded when it is first used, so that importing the package
costs nothing. `__init__.pyi` beside this file tells type checkers the same names.
"""

from importlib import import_module

_HOMES = {
    "Agent": "runtime.agent",
    "AgentHandle": "runtime.handle",
    "ChatResponse": "runtime.response",
    "Event": "core.events",
    "EventKind": "core.events",
    "File": "core.messages",
    "Image": "core.messages",
    "Limits": "tasks.parts.permits",
    "Reply": "runtime.response",
    "Route": "core.routing",
    "RunContext": "tasks.context",
    "RunResult": "runtime.agent",
    "Runtime": "runtime.runtime",
    "SidetaskError": "core.errors",
    "TaskPolicy": "core.routing",
    "TaskStatus": "core.lifecycle",
    "Text": "core.messages",
    "Tool": "agents.tools.tool",
    "ToolError": "core.errors",
    "Usage": "core.usage",
    "background": "core.routing",
    "detach_after": "core.routing",
    "foreground": "core.routing",
    "open": "runtime.runtime",
    "tool": "agents.tools.tool",
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
