"""A runtime for LLM agents that keep talking while their work goes on.

The face: the public names, each loaded when it is first used, so that importing the package
costs nothing. `__init__.pyi` beside this file tells type checkers the same names.
"""

from sidetask.core import face

_HOMES = {
    "Agent": "sidetask.runtime.agent",
    "AgentHandle": "sidetask.runtime.handle",
    "ChatResponse": "sidetask.runtime.response",
    "Event": "sidetask.core.events",
    "EventKind": "sidetask.core.events",
    "File": "sidetask.core.messages",
    "Image": "sidetask.core.messages",
    "Limits": "sidetask.tasks.parts.permits",
    "Reply": "sidetask.runtime.response",
    "Route": "sidetask.core.routing",
    "RunContext": "sidetask.tasks.context",
    "RunResult": "sidetask.runtime.agent",
    "Runtime": "sidetask.runtime.runtime",
    "SidetaskError": "sidetask.core.errors",
    "TaskPolicy": "sidetask.core.routing",
    "TaskStatus": "sidetask.core.lifecycle",
    "Text": "sidetask.core.messages",
    "Tool": "sidetask.agents.tools.tool",
    "ToolError": "sidetask.core.errors",
    "Usage": "sidetask.core.usage",
    "background": "sidetask.core.routing",
    "detach_after": "sidetask.core.routing",
    "foreground": "sidetask.core.routing",
    "open": "sidetask.runtime.runtime",
    "tool": "sidetask.agents.tools.tool",
}
"""Where each public name is defined."""

__all__, __getattr__, __dir__ = face(globals(), _HOMES)  # pyright: ignore[reportUnsupportedDunderAll] - the stub names them
