"""Outputs that were too long for the model: the whole text is kept, and `read_output` reads it.

Every agent that has tools has this one too, and from its first call on: what tools there are
stands in front of a prompt, so one that came with the first long output would make the
provider read the whole conversation anew.
"""

import logging
from collections.abc import Callable

from sidetask.agents.tools.asking import Arguments, Context
from sidetask.agents.tools.outputs import MAX_BYTES, MAX_LINES
from sidetask.agents.tools.tool import AnyTool, Tool
from sidetask.core.errors import StoreError, ToolError
from sidetask.core.ids import TaskId
from sidetask.core.messages import Text
from sidetask.core.routing import TaskPolicy
from sidetask.stores.base import TEXTS, Record, Store

NAME = "read_output"
LETTERS = 20_000
"""That are read at once, unless the model says otherwise."""
MOST_LETTERS = 40_000
KEPT_LETTERS = 2_000_000
"""Of one output; what is longer is kept up to here. A store keeps 50 of a conversation."""

_ROOM = 200
"""Bytes for the line that tells where a piece ends."""
_log = logging.getLogger(__name__)


class KeptOutputs:
    """Writes long outputs into the store, by the task that they came from."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self.tool = _read_output(self)
        """`read_output`."""

    def keep(self, ctx: Context, text: str) -> TaskId | None:
        """Keep the text of a task's output; returns the id by which it is read, or None: the
        store does not take it."""
        kept = Text(text[:KEPT_LETTERS])
        try:
            self._store.put(
                Record(
                    kind=TEXTS,
                    conversation_id=ctx.conversation_id,
                    id=ctx.task_id,
                    status="kept",
                    at=self._now(),
                    value=kept,
                )
            )
        except StoreError:  # the tool ran: the model gets of its output what it can
            _log.warning("the output of %s could not be kept", ctx.task_id, exc_info=True)
            return None
        return ctx.task_id

    async def read(self, arguments: Arguments, ctx: Context) -> str:
        """What `read_output` does."""
        offset = _number(arguments, "offset", 0, least=0)
        limit = min(_number(arguments, "limit", LETTERS, least=1), MOST_LETTERS)
        task_id = str(arguments.get("id", ""))
        record = await self._store.get(TEXTS, ctx.conversation_id, task_id)
        if record is None:
            raise ToolError(
                f"no output {task_id!r} is kept: the last 50 long ones are; call its tool again"
            )
        text = record.value.text
        if offset >= len(text):
            raise ToolError(f"the output has {len(text):,} letters: nothing begins at {offset:,}")
        piece = _fitting(text[offset : offset + limit])
        end = offset + len(piece)
        if end == len(text):
            return f"{piece}\n[the end]"
        return f"{piece}\n[... {len(text) - end:,} more letters: go on with offset={end} ...]"


def _read_output(outputs: KeptOutputs) -> AnyTool:
    return Tool.from_schema(
        outputs.read,
        {
            "type": "object",
            "properties": {
                "id": {"type": "string", "description": "As told where the output was cut."},
                "offset": {
                    "type": "integer",
                    "description": "Letters to pass over; else 0.",
                },
                "limit": {
                    "type": "integer",
                    "description": f"Letters to read, up to {MOST_LETTERS}; else {LETTERS}.",
                },
            },
            "required": ["id"],
            "additionalProperties": False,
        },
        name=NAME,
        description="Read on in a tool's output that was cut because it is long.",
        policy=TaskPolicy(control=True, journal=False, idempotent=True),
    )


def _number(arguments: Arguments, name: str, default: int, *, least: int) -> int:
    number = arguments.get(name, default)
    if not isinstance(number, int) or isinstance(number, bool) or number < least:
        raise ToolError(f"{name} is a whole number from {least} on, not {number!r}")
    return number


def _fitting(piece: str) -> str:
    """So much of it that it is not cut again."""
    lines = piece.split("\n", MAX_LINES - 1)
    if len(lines) == MAX_LINES:
        piece = "\n".join(lines[:-1])
    return piece.encode(errors="replace")[: MAX_BYTES - _ROOM].decode(errors="ignore")
