"""A live agent whose model's seat is taken, and a terminal to sit at."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from sidetask import Runtime
from sidetask.cli.session import Session
from sidetask.testing import VirtualClock
from tests.cli.kitchen import KITCHEN, agent
from tests.cli.terminal import Terminal


@pytest.fixture
async def session(clock: VirtualClock) -> AsyncIterator[Session]:
    """A chat in which the user drives, and nobody is asked automatically."""
    async with Runtime(clock=clock) as runtime, runtime.open(agent) as chat:
        yield Session(chat, runtime, driven=True, approve=None, clock=clock)


@pytest.fixture
def app_folder(tmp_path: Path) -> Path:
    """A directory with the module `kitchen` in it."""
    (tmp_path / "kitchen.py").write_text(KITCHEN, "utf-8")
    (tmp_path / "flour.txt").write_text("flour\n", "utf-8")
    return tmp_path


@pytest.fixture
def terminal(app_folder: Path) -> Iterator[Callable[..., Terminal]]:
    """Starts `sidetask` with arguments at a terminal."""
    open_ones: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        open_ones.append(Terminal(app_folder, *arguments))
        return open_ones[-1]

    yield start
    for each in open_ones:
        each.close()
