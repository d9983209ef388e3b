"""The door to all that needs the library: whoever opens a server by it imports the rest."""

import logging

from sidetask.interop.mcp.connection import Connection
from sidetask.interop.mcp.server import McpServer
from sidetask.tasks.aio.spawn import run_to_end

_CLEANUP = 20.0

# The library logs what a server writes that is no message, with a traceback. Where nobody has set
# up logging, Python would print that: into the middle of a chat.
logging.getLogger("mcp").addHandler(logging.NullHandler())


async def open_server(server: McpServer) -> Connection:
    """Start the server, or connect to it.

    Raises:
        ToolServerError: It does not start, or does not answer.
    """
    connection = Connection(server)
    try:
        await connection.start()
    except BaseException:  # the one boundary: an opening that fails leaves no process behind
        await run_to_end(connection.close(), within=_CLEANUP)
        raise
    return connection
