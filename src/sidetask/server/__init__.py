"""A front end of one's own: a conversation as server-sent events, and a doorkeeper.

Nothing here knows a web framework: bytes to stream, and an ASGI app around an ASGI app.
"""

from sidetask.server.doorkeeper import Doorkeeper
from sidetask.server.frames import Frames, sse

__all__ = ["Doorkeeper", "Frames", "sse"]
