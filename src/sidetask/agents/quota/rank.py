"""Who stands behind whom at a gate."""

from contextvars import ContextVar

aside: ContextVar[bool] = ContextVar("aside", default=False)
"""Nobody waits for the code that runs. Agents that it opens stand at the gates of their keys behind
those that somebody waits for."""
