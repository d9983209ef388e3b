"""Server-sent events as a browser reads them."""

import json
from dataclasses import dataclass, field
from typing import Any

from sidetask.server import Frames


@dataclass(frozen=True)
class Frame:
    """What a page's listener is given."""

    kind: str
    data: dict[str, Any]
    last_event_id: str


@dataclass
class Browser:
    """Parses a stream by the standard's rules, and keeps the id that it would come back with."""

    last_event_id: str = ""
    retry: int | None = None
    comments: list[str] = field(default_factory=list[str])
    _rest: str = ""

    def feed(self, chunk: bytes) -> list[Frame]:
        *blocks, self._rest = (self._rest + chunk.decode("utf-8")).split("\n\n")
        return [frame for block in blocks if (frame := self._frame(block)) is not None]

    def cut(self) -> None:
        """The connection broke, perhaps in the middle of a frame."""
        self._rest = ""

    def _frame(self, block: str) -> Frame | None:
        kind, dispatched = "message", self.last_event_id
        data: list[str] = []
        for line in block.splitlines():
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match name:
                case "":
                    self.comments.append(value)
                case "event":
                    kind = value
                case "data":
                    data.append(value)
                case "id":
                    dispatched = value
                case "retry":
                    self.retry = int(value)
                case _:
                    raise AssertionError(f"no field of the standard: {line!r}")
        if not data:
            return None
        self.last_event_id = dispatched
        return Frame(kind, json.loads("\n".join(data)), dispatched)


async def read(frames: Frames, browser: Browser, *, until: str, times: int = 1) -> list[Frame]:
    """The frames up to so many of one kind, or all there are."""
    found: list[Frame] = []
    async for chunk in frames:
        found += browser.feed(chunk)
        if sum(frame.kind == until for frame in found) >= times:
            break
    return found


def facts(frames: list[Frame]) -> list[int]:
    """The seqs of the facts, in order."""
    return [int(f.last_event_id) for f in frames if "seq" in f.data and "index" not in f.data]
