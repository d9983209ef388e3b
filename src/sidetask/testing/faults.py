"""Models and work that misbehave, for tests of what has to live with them.

A model that is cut, stalls or floods is scripted: `cut`, `stall` and `flood` are replies of a
`ScriptedModel`, and so is `fails`.
"""

import asyncio
from contextlib import suppress

from sidetask.core.errors import ModelError
from sidetask.models.scripted import Part


def fails(*parts: Part, error: Exception | None = None) -> tuple[Part, ...]:
    """A reply that raises after these parts: at once if there are none."""
    return (*parts, error or ModelError("the model failed, as the test wants it"))


async def ignores_cancellation(seconds: float) -> None:
    """The body of a tool that works for `seconds` and swallows every cancellation meanwhile."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        with suppress(asyncio.CancelledError):  # the fault itself
            await asyncio.sleep(end - loop.time())
