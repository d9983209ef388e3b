"""`sidetask replay`: what a model replies to the requests on a tape, beside what was recorded.

Requests are made one after the other, as they were recorded: each holds the history that was,
and not what this model replied before. So every row stands for itself.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

from sidetask.cli.view.render import cleaned, shortened
from sidetask.core.errors import SidetaskError
from sidetask.models.base import Chunk, Finished, Model
from sidetask.models.tape.comparing import Said, put_together, unlike
from sidetask.models.tape.format import RecordedCall

PATIENCE = 300.0
"""Seconds that one reply may take."""
WIDTH = 100
"""Characters that are shown of a reply."""
_HEAD = "reply  text     calls    tokens in        tokens out       seconds"


@dataclass(frozen=True, slots=True)
class Compared:
    """A recorded reply, and the one of now."""

    number: int
    then: Said
    now: Said
    unlike: Sequence[str]


async def run(
    recorded: Sequence[RecordedCall], model: Model, *, calls_only: bool, as_json: bool
) -> int:
    """Replay a tape and print what comes of it; returns the exit code."""
    if not as_json and recorded:
        print(cleaned(f"then: {recorded[0].model}; now: {model.name}"))
        print(_HEAD)
    different = 0
    for number, call in enumerate(recorded, 1):
        then, now = _recorded(call), await _ask(model, call)
        compared = Compared(number, then, now, unlike(then, now, calls_only=calls_only))
        different += bool(compared.unlike or now.error)
        print(_as_json(compared) if as_json else "\n".join(_lines(compared)), flush=True)
    if not as_json:
        print(f"{len(recorded)} replies, {different or 'none'} of them different")
    return 1 if different else 0


def _recorded(call: RecordedCall) -> Said:
    said = put_together([chunk for _, chunk in call.chunks])
    said.seconds = call.seconds
    if call.error is not None:
        said.error = f"{call.error.type}: {call.error.text}"
    return said


async def _ask(model: Model, call: RecordedCall) -> Said:
    loop = asyncio.get_running_loop()
    began = loop.time()
    chunks: list[Chunk] = []
    error = ""
    try:
        async with asyncio.timeout(PATIENCE), model.stream(call.request) as reply:
            async for chunk in reply:
                chunks.append(chunk)
                if isinstance(chunk, Finished):
                    break
    except TimeoutError:
        error = f"not done within {PATIENCE:g} s"
    except SidetaskError as failed:
        error = f"{type(failed).__name__}: {failed}"
    said = put_together(chunks)
    said.seconds = loop.time() - began
    said.error = error or said.error
    return said


def _lines(compared: Compared) -> list[str]:
    """A row, and what differs below it."""
    then, now = compared.then, compared.now
    words = ["differs" if word in compared.unlike else "same" for word in ("text", "calls")]
    tokens = [
        f"{then.usage.input_tokens:,} → {now.usage.input_tokens:,}",
        f"{then.usage.output_tokens:,} → {now.usage.output_tokens:,}",
    ]
    row = (
        f"{compared.number:>5}  {words[0]:<8} {words[1]:<8} {tokens[0]:<16} {tokens[1]:<16}"
        f" {then.seconds:.1f} → {now.seconds:.1f}"
    )
    lines = [row.rstrip()]
    for sign, said in (("-", then), ("+", now)):
        shown: list[str] = []
        if "error" in compared.unlike or said.error:
            shown.append(f"error: {said.error}" if said.error else "no error")
        if "text" in compared.unlike:
            shown.append(f"text: {said.text.strip() or 'none'}")
        if "calls" in compared.unlike:
            shown += [f"call: {call}" for call in said.calls] or ["no call"]
        lines += [f"       {sign} {shortened(cleaned(each), WIDTH)}" for each in shown]
    return lines


def _as_json(compared: Compared) -> str:
    def told(said: Said) -> dict[str, object]:
        return {
            "text": said.text,
            "calls": said.calls,
            "input_tokens": said.usage.input_tokens,
            "output_tokens": said.usage.output_tokens,
            "seconds": round(said.seconds, 3),
            "error": said.error or None,
        }

    return json.dumps(
        {
            "reply": compared.number,
            "differs": list(compared.unlike),
            "then": told(compared.then),
            "now": told(compared.now),
        }
    )
