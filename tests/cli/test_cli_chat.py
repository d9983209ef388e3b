"""The chat in a terminal that is made of a pipe and a text, in this process."""

import asyncio
import io
import re
import signal
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output.vt100 import Vt100_Output

from sidetask import Agent, tool
from sidetask.cli.chat import Interrupts, Reaction, hold
from sidetask.models.scripted import ScriptedModel
from sidetask.tasks.aio.spawn import spawn
from tests.cli.kitchen import agent, hotel, stir
from tests.limits import HANG

pytestmark = pytest.mark.slow


@pytest.fixture
def anyio_backend() -> str:
    """The real event loop: keys come through a pipe."""
    return "asyncio"


class Paper(io.StringIO):
    """A terminal's output that one can wait for."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._read = 0

    def write(self, text: str, /) -> int:
        written = super().write(text)
        self._loop.call_soon_threadsafe(self._news.set)  # afterwards: a thread may write it
        return written

    async def shows(self, wanted: str) -> None:
        """Wait until a text stands after what was waited for before."""
        try:
            async with asyncio.timeout(HANG):
                while (at := self.plain.find(wanted, self._read)) < 0:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"no {wanted!r} in {self.plain[self._read :]!r}") from None
        self._read = at + len(wanted)

    @property
    def plain(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r", "", self.getvalue())


class Seat:
    """A chat that runs, its keys and its paper."""

    def __init__(self, keys: PipeInput, paper: Paper, chat: asyncio.Task[int]) -> None:
        self._keys = keys
        self.paper = paper
        self._chat = chat

    def type(self, text: str) -> None:
        self._keys.send_text(text)

    async def ends(self) -> int:
        """The exit code."""
        return await asyncio.wait_for(asyncio.shield(self._chat), HANG)


@asynccontextmanager
async def sitting(agent: Agent, root: Path, *, approve: bool = False) -> AsyncGenerator[Seat]:
    paper = Paper()
    screen = Vt100_Output(paper, lambda: Size(40, 100), term="xterm", enable_cpr=False)
    with create_pipe_input() as keys, create_app_session(keys, screen):
        chat = spawn(hold(agent, root, approve=approve), name="chat")
        try:
            seat = Seat(keys, paper, chat)
            await paper.shows("/help lists")
            yield seat
        finally:
            chat.cancel()
            await asyncio.wait({chat})


async def test_a_line_queues_behind_the_turn_and_a_command_does_not(tmp_path: Path) -> None:
    async with sitting(agent, tmp_path) as seat:
        seat.type("bake cake seconds=0\r")
        await seat.paper.shows("? approval-1  task-1 asks to run bake")
        seat.type("> later\r")
        await seat.paper.shows("… > later   (is said when this turn is over)")
        seat.type("/approve\r")
        await seat.paper.shows("approval-1 approved by you")
        await seat.paper.shows("baked cake")
        await seat.paper.shows("\nlater")
        seat.type("/nope\r")
        await seat.paper.shows("no command /nope")
        seat.type("  \r/quit\r")
        assert await seat.ends() == 0


async def test_what_an_agent_below_asks_is_answered_by_whom_it_works_for(tmp_path: Path) -> None:
    async with sitting(hotel(), tmp_path) as seat:
        seat.type("cook input=cake\r")
        await seat.paper.shows("? approval-1  task-2 of cook asks to run bake")
        await seat.paper.shows("/approve approval-1   /deny approval-1 [reason]")
        seat.type("/tasks\r")
        await seat.paper.shows("? task-1 cook  waits for /approve approval-1")
        seat.type("/approve\r")
        await seat.paper.shows("approval-1 approved by you")
        await seat.paper.shows("It is baked.")
        seat.type("/quit\r")
        assert await seat.ends() == 0


async def test_ctrl_d_leaves_and_tells_what_is_stopped(tmp_path: Path) -> None:
    async with sitting(agent, tmp_path) as seat:
        seat.type("bake cake\r")
        await seat.paper.shows("asks to run bake")
        seat.type("/approve 1\r/detach\r")
        await seat.paper.shows("Running in the background as task-1")
        seat.type("\x04")
        await seat.paper.shows("stopping ● task-1 bake")
        await seat.paper.shows("● task-1 bake cancelled after")
        assert await seat.ends() == 0


async def test_sigterm_ends_the_chat_in_order(tmp_path: Path) -> None:
    begun = asyncio.Event()

    @tool
    async def knead() -> str:
        """Knead, without an end."""
        begun.set()
        await asyncio.Event().wait()
        return ""

    async with sitting(Agent("you", tools=[knead]), tmp_path) as seat:
        seat.type("knead\r")
        await asyncio.wait_for(begun.wait(), HANG)
        signal.raise_signal(signal.SIGTERM)
        await seat.paper.shows("stopping ● task-1 knead")
        assert await seat.ends() == 128 + signal.SIGTERM


async def test_ctrl_c_clears_a_line_then_says_how_to_leave_and_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidetask.cli.chat.TWICE", HANG)  # however slow the machine is
    async with sitting(agent, tmp_path) as seat:
        seat.type("half a line\x03")
        seat.type("> whole\r")
        await seat.paper.shows("\nwhole")
        seat.type("\x03")
        await seat.paper.shows("nothing to interrupt")
        seat.type("\x03")
        assert await seat.ends() == 0


async def test_a_result_that_comes_after_an_interrupt_waits_for_the_next_line(
    tmp_path: Path,
) -> None:
    ready = asyncio.Event()

    @tool(detach_after=0)
    async def rise() -> str:
        """Let the dough rise."""
        await ready.wait()
        return "risen"

    async with sitting(Agent("you", tools=[rise, stir]), tmp_path) as seat:
        seat.type("rise\r")
        await seat.paper.shows("Running in the background as task-1")
        seat.type("stir\r")
        await seat.paper.shows("→ stir")
        seat.type("\x03")
        await seat.paper.shows("■ the turn is over: the user interrupted the turn")
        ready.set()
        await seat.paper.shows("● task-1 rise succeeded")
        await seat.paper.shows("its result is told with your next line")
        seat.type("> and?\r")
        await seat.paper.shows("✉ rise  task-1")


async def test_tab_completes_tools_paths_and_commands(tmp_path: Path) -> None:
    async with sitting(agent, tmp_path) as seat:
        (tmp_path / "flour.txt").touch()
        seat.type("bake what=fl\t")
        await seat.paper.shows("our.txt")
        seat.type("\x03/ta\t")
        await seat.paper.shows("sks")


async def test_many_tasks_at_work_are_counted_above_the_prompt(tmp_path: Path) -> None:
    async with sitting(agent, tmp_path, approve=True) as seat:
        seat.type("bake a; bake b; bake c; bake d; bake e; bake f; bake g\r")
        await seat.paper.shows("… and 2 more: /tasks")


async def test_with_another_model_the_user_is_not_told_to_drive(tmp_path: Path) -> None:
    async with sitting(Agent(ScriptedModel("good day")), tmp_path) as seat:
        seat.type("hello\t\r")
        await seat.paper.shows("good day")
        assert "You drive" not in seat.paper.plain


def presses(*each: tuple[float, bool, bool]) -> Iterator[Reaction]:
    interrupts = Interrupts()
    for now, running, writing in each:
        yield interrupts.press(now, running=running, writing=writing)


def test_a_second_ctrl_c_leaves_within_two_seconds_and_not_later() -> None:
    assert list(presses((0, True, False), (1.9, False, False))) == ["interrupt", "leave"]
    assert list(presses((0, True, False), (2.0, True, True))) == ["interrupt", "interrupt"]
    assert list(presses((0, False, False), (2.5, False, False))) == ["hint", "hint"]


def test_clearing_a_line_is_no_first_step_to_the_door() -> None:
    assert list(presses((0, False, True), (0.5, False, False), (1, False, True))) == [
        "clear",
        "hint",
        "leave",
    ]
