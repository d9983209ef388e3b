"""A front end of one's own: a conversation as server-sent events, and a guard at the door.

Nothing here knows a web framework: bytes to stream, and an ASGI app around an ASGI app.
"""

from sidetask.server.frames import Frames, sse
from sidetask.server.guard import Guard

__all__ = ["Frames", "Guard", "sse"]
