"""The chat in a terminal: a prompt that is always there, and the conversation above it.

Reading lines and showing events are two activities that wait for nothing of each other. Lines
that are said while a turn runs queue up behind it; commands are obeyed at once, so that an
approval that holds up the turn can be given.
"""

import shutil
import signal
import time
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Literal, TextIO, cast

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import ANSI
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.patch_stdout import StdoutProxy
from rich.text import Text

from sidetask.agents.agent import AgentConfig
from sidetask.cli.apps import is_driven
from sidetask.cli.commands import complete, is_command, obey
from sidetask.cli.completion import candidates, replaced
from sidetask.cli.kept.place import NOWHERE, Place
from sidetask.cli.session import ENDS, Session, signals
from sidetask.cli.view import render
from sidetask.cli.view.screen import Screen
from sidetask.cli.view.trace import show_lanes, traced
from sidetask.cli.view.transcript import Transcript
from sidetask.core.errors import SidetaskError
from sidetask.core.events import Event, Lagged, TaskEnded
from sidetask.models.human import usage
from sidetask.runtime.runtime import Runtime
from sidetask.tasks.aio.clock import SystemClock
from sidetask.tasks.aio.spawn import spawn
from sidetask.tasks.values import TaskSnapshot

SHOWN = 30
"""Lines of a result that are shown."""
TWICE = 2.0
"""Seconds within which a second Ctrl-C leaves."""
_REFRESH = 0.5
_BUNDLE = 0.05  # seconds in which what is printed is drawn at once
_TASKS = 5

Reaction = Literal["leave", "interrupt", "clear", "hint"]


async def hold(
    agent: AgentConfig,
    root: Path,
    *,
    approve: bool,
    why: str | None = None,
    trace: bool = False,
    place: Place = NOWHERE,
) -> int:
    """Chat in the terminal until the user leaves; returns the exit code.

    `why` tells how the model was chosen, if nobody named one; `place`, where it is kept.
    """
    with _above_the_prompt():
        conversation_id = await place.find()
        async with (
            Runtime(store=place.url, on_approval="host") as runtime,
            runtime.open(agent, conversation_id=conversation_id) as live,
        ):
            session = Session(
                live,
                runtime,
                driven=is_driven(agent),
                approve=True if approve else None,
                clock=SystemClock(),
                kept=place.url is not None,
            )
            chat = Chat(session, root, why)
            ends = {each: session.leaver(each) for each in ENDS}
            see, told = traced(chat.see, trace)
            with signals({signal.SIGINT: chat.interrupt, **ends}):
                code = await session.run(
                    chat.read(), see=see, see_below=chat.see, leaving=chat.leaving
                )
    show_lanes(told)
    if place.url is not None:
        print(f"kept as {live.conversation_id}: --resume last, or this id, goes on")
    return code


@contextmanager
def _above_the_prompt() -> Generator[None]:
    """What is printed stands above the prompt. As `patch_stdout`, but quicker to show it."""
    with StdoutProxy(raw=True, sleep_between_writes=_BUNDLE) as proxy:
        output = cast(TextIO, proxy)
        with redirect_stdout(output), redirect_stderr(output):
            yield


class Interrupts:
    """What a Ctrl-C means, by what went before it."""

    def __init__(self) -> None:
        self._last = -TWICE

    def press(self, now: float, *, running: bool, writing: bool) -> Reaction:
        """`now` in seconds; `running`: a turn is; `writing`: there is text at the prompt."""
        if now - self._last < TWICE:
            return "leave"
        if writing and not running:
            return "clear"
        self._last = now
        return "interrupt" if running else "hint"


class Chat:
    """The two sides of the terminal: what is shown, and what is written."""

    def __init__(self, session: Session, root: Path, why: str | None = None) -> None:
        self._session = session
        self._why = why
        self._screen = Screen(styled=True)
        self._transcript = Transcript(
            limit=SHOWN, hints=True, details=session.details, asker=session.asker
        )
        self._interrupts = Interrupts()
        self._parked = False
        """After an interrupt no turn begins by itself until the user speaks."""
        keys = KeyBindings()
        keys.add("c-c")(self._on_ctrl_c)
        self._prompt: PromptSession[str] = PromptSession(
            self._above,
            completer=_Tab(session, root),
            complete_while_typing=False,
            erase_when_done=True,
            key_bindings=keys,
            refresh_interval=_REFRESH,
        )

    # -- showing -----------------------------------------------------------------------------

    def see(self, event: Event | Lagged) -> None:
        """Show an event."""
        lines = self._transcript.lines(event)
        if lines and self._parked and isinstance(event, TaskEnded):
            lines.append(render.note("  its result is told with your next line"))
        self._screen.show(*lines)

    def leaving(self, tasks: list[TaskSnapshot]) -> None:
        """Tell what is stopped."""
        self._screen.show(*render.stopping(tasks, self._session.now()))

    def _greet(self) -> None:
        if self._why is not None:
            self._screen.show(render.note(f"Model: {self._why}."))
        if not self._session.driven:
            self._screen.show(render.note("/help lists the commands, Ctrl-D leaves"), Text())
            return
        tools = self._session.chat.available_tools
        self._screen.show(
            Text("You drive: you are the model, and all else is real.", "bold"),
            render.note("A line is one or several tool calls. Tab completes, /help lists all."),
        )
        if tools:
            self._screen.show(render.note(f"For example: {usage(tools[0])}"))
        if self._why is not None:
            self._screen.show(render.note("New here? `sidetask demo` shows what this is for."))
        self._screen.show(Text())

    def _above(self) -> ANSI:
        """The tasks at work, and below them the prompt."""
        live, now = self._session.chat, self._session.now()
        tasks = live.tasks.running()
        asked = self._session.asked()
        width = shutil.get_terminal_size().columns - 1
        lines = [
            render.task_line(task, now, approval_id=asked.get(task.id, ""))
            for task in tasks[:_TASKS]
        ]
        if len(tasks) > _TASKS:
            lines.append(render.note(f"… and {len(tasks) - _TASKS} more: /tasks"))
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        return ANSI("\n".join([self._screen.drawn(line) for line in (*lines, render.echo(""))]))

    # -- reading -----------------------------------------------------------------------------

    async def read(self) -> int:
        """Take lines until the user leaves."""
        self._greet()
        while True:
            try:
                self.take(await self._prompt.prompt_async(handle_sigint=False))
            except EOFError:
                return 0
            except KeyboardInterrupt:  # a terminal without cursor movements has its own Ctrl-C
                self.interrupt()

    def take(self, line: str) -> None:
        """Begin to do what a line says."""
        if not line.strip():
            return
        if is_command(line):
            self._screen.show(render.echo(line))
            self._begin(self._obey(line))
            return
        if self._running:
            self._screen.show(render.note(f"… {line}   (is said when this turn is over)"))
        self._parked = False
        self._begin(self._say(line))

    def interrupt(self) -> None:
        """Do what a Ctrl-C asks for."""
        buffer = self._prompt.default_buffer
        running = self._running
        match self._interrupts.press(time.monotonic(), running=running, writing=bool(buffer.text)):
            case "leave":
                self._session.leave()
            case "clear":
                buffer.reset()
            case "interrupt":
                self._screen.show(
                    render.note("interrupting; the background goes on. Ctrl-C again leaves")
                )
                self._parked = True
                self._begin(self._session.chat.interrupt())
            case "hint":
                self._screen.show(
                    render.note("nothing to interrupt. Ctrl-C again leaves; /cancel stops a task")
                )

    @property
    def _running(self) -> bool:
        last = self._session.chat.last_response
        return last is not None and last.status == "running"

    def _on_ctrl_c(self, event: KeyPressEvent) -> None:
        self.interrupt()

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        """Nobody waits for it: the shutdown of the agent ends it at the latest."""
        spawn(self._told(work), name="a line of the chat")

    async def _told(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except SidetaskError as error:
            self._screen.show(render.problem(str(error)))

    async def _say(self, line: str) -> None:
        await self._session.chat.chat(line)

    async def _obey(self, line: str) -> None:
        self._screen.show(*await obey(line, self._session))


class _Tab(Completer):
    """prompt_toolkit's side of the completion."""

    def __init__(self, session: Session, root: Path, why: str | None = None) -> None:
        self._session = session
        self._why = why
        self._root = root

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        line = document.text_before_cursor
        if is_command(line):
            start = -len(line.rpartition(" ")[2])
            for word, hint in complete(line, self._session):
                yield Completion(word, start, display_meta=hint)
        elif self._session.driven:
            tools = self._session.chat.available_tools
            for each in candidates(line, tools, self._root):
                yield Completion(
                    each.text, -replaced(line), display=each.shown, display_meta=each.hint
                )
