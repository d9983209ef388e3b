"""`sidetask demo`: play the story, check it, draw it."""

import asyncio
import sys
from pathlib import Path

from sidetask.cli.demo.audit import Audit, audit
from sidetask.cli.demo.story import CAP, SUB_AGENTS, Stage, files_below, play
from sidetask.cli.demo.timeline import draw
from sidetask.cli.toolbox import toolbox
from sidetask.core.errors import SidetaskError

COMMAND = "sleep 6; ls -R . | wc -l"
"""A real process that outlasts its turn."""


def demo(*, root: Path, picture: Path) -> int:
    """Play the demo on the files below `root`, and write its timeline.

    Returns 0, or 1 if a promise was broken.

    Raises:
        SidetaskError: The timeline cannot be written there.
    """
    _try_out(picture)
    files = files_below(root)
    if not files:
        print(f"sidetask demo: no readable files below {root}", file=sys.stderr)
        return 2
    shell = next(each for each in toolbox(root) if each.name == "shell")
    print(f"The model is scripted. All else is real: {SUB_AGENTS} sub-agents, {CAP} at once,")
    print("a process, a Stop, an approval.\n")
    log = asyncio.run(play(Stage(files, shell, COMMAND, _say)))
    result = audit(log)
    picture.write_text(
        draw(log, title="One conversation, and what went on beside it", subtitle=result.line),
        encoding="utf-8",
    )
    return report(result, picture)


def _try_out(picture: Path) -> None:
    """Find out before the demo, and not after it, whether its picture can be written."""
    is_new = not picture.exists()
    try:
        with picture.open("a"):
            pass
        if is_new:
            picture.unlink()
    except OSError as error:
        raise SidetaskError(f"--picture {picture}: {error.strerror}") from None


def report(result: Audit, picture: Path) -> int:
    """Print the audit, loudly if it is untrue."""
    print(f"\naudit      {result.line}")
    print(f"timeline   {picture}")
    for broken in result.broken:
        print(f"BROKEN     {broken}", file=sys.stderr)
    return 1 if result.broken else 0


def _say(line: str) -> None:
    print(line, flush=True)
