"""The command line: `sidetask chat`, `sidetask run`, `sidetask demo`.

Exit codes: 0; 1 if a turn failed; 2 if it could not begin; 128 and the signal's number if a
signal ended it. Each command loads what it needs when it is called, so that `--help` is quick.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Group, Parameter

from sidetask.cli.kept import commands as kept
from sidetask.cli.kept.place import NOWHERE, Place, to_look_into
from sidetask.cli.kept.upkeep import app as upkeep
from sidetask.cli.worker.command import worker
from sidetask.core.errors import SidetaskError

WRONG = 2
"""What was asked for cannot be."""

ModelName = Annotated[
    str | None,
    Parameter(
        ["--model", "-m"],
        help="The model: openai:gpt-5.2, ollama:llama4, ...; `you`: you drive, and are the model"
        " yourself. Else SIDETASK_MODEL, or a server on this machine, or you.",
    ),
]
AppName = Annotated[
    str | None,
    Parameter(
        help="An agent of yours, as module:attribute. The working directory is looked in first."
        " Without it, the agent has tools for files, commands and pages here."
    ),
]
Yes = Annotated[bool, kept.flag("Approve whatever asks for an approval.", "--yes", "-y")]
AsJson = Annotated[bool, kept.flag("Print one event a line, as JSON.", "--json")]
Trace = Annotated[
    bool, kept.flag("At the end, draw each turn and task as a lane along the time.", "--trace")
]
Servers = Annotated[
    list[str] | None,
    Parameter(
        "--mcp",
        negative="",
        help="Add the tools of an MCP server: a command, as in a shell (`KEY=value npx -y"
        " @scope/server`), or the address of one that runs. Can be given again.",
    ),
]
Record = Annotated[
    Path | None,
    Parameter(
        help="Write what the model is asked and replies to this tape; `sidetask replay` reads it."
    ),
]
StoreName = Annotated[
    str | None,
    Parameter(
        help="Keep the conversation: sqlite:///file.db, postgresql://host/database. Else"
        " SIDETASK_STORE, or in memory."
    ),
]
Resume = Annotated[
    str | None,
    Parameter(help="Go on with this conversation of the store; `last`: the one touched last."),
]
Directory = Annotated[
    Path | None, Parameter(["--cwd", "-C"], help="Work in this directory, as if started there.")
]

TALK, LOOK, STEER, WORK, EXAMINE, OPTIONS = (
    Group(name, sort_key=place)
    for place, name in enumerate(
        (
            "Talk",
            "Look into a store",
            "Steer what it keeps",
            "Work for others",
            "Examine a model",
            "Options",
        )
    )
)
app = App(
    name="sidetask",
    help="Agents that keep talking while their work goes on.",
    version=lambda: version("sidetask"),
    result_action="return_value",
)


@app.command(group=TALK)
def chat(  # noqa: PLR0913 - the options of a command
    *,
    model: ModelName = None,
    app: AppName = None,
    mcp: Servers = None,
    store: StoreName = None,
    resume: Resume = None,
    yes: Yes = False,
    json: AsJson = False,
    trace: Trace = False,
    record: Record = None,
    cwd: Directory = None,
) -> int:
    """Chat with an agent.

    A call that takes long goes on beside the conversation: the prompt is yours again, and its
    result comes by itself. With no model at hand you may see the demo first, and then you
    drive: each line is one or several tool calls (`read_file path=README.md; shell "make
    test"`), or `> text`, and you see what a model would see. In the chat, /help lists its
    commands.

    If standard input is no terminal, each of its lines is a turn, blank ones and those that
    begin with # excepted. At the end it waits for what still runs. What asks for an approval
    is denied, unless --yes is given.

    With --store the conversation is kept, and --resume goes on with it: its tasks, too.
    """
    place = Place(store, resume)
    if json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return _without_terminal(
            None,
            model,
            app,
            cwd,
            mcp=mcp,
            place=place,
            yes=yes,
            as_json=json,
            trace=trace,
            record=record,
        )

    from sidetask.cli import apps  # noqa: PLC0415
    from sidetask.cli.chat import hold  # noqa: PLC0415

    root = _enter(cwd)
    choice = apps.choose_model(app, model)
    why = choice.why if choice else None
    if choice is not None and choice.is_last_resort:
        from sidetask.cli.welcome import greet  # noqa: PLC0415

        greet(root, choice.why)
        why = None  # it has been told
    agent = apps.find_agent(app, choice.name if choice else model, root, mcp=mcp, record=record)
    return asyncio.run(hold(agent, root, approve=yes, why=why, trace=trace, place=place))


@app.command(group=TALK)
def run(  # noqa: PLR0913 - the options of a command
    text: str,
    /,
    *,
    model: ModelName = None,
    app: AppName = None,
    mcp: Servers = None,
    yes: Yes = False,
    json: AsJson = False,
    trace: Trace = False,
    timeout: Annotated[
        float | None, Parameter(["--timeout", "-t"], help="Seconds that all of it may take.")
    ] = None,
    record: Record = None,
    cwd: Directory = None,
) -> int:
    """Say one thing and print the answer, when all is done: late results too.

    When you drive, what a model would see is printed. The exit code is 1 if a turn failed.

    Parameters
    ----------
    text
        What to say.
    """
    if not text.strip():
        raise SidetaskError("the message is empty: say something")
    if timeout is not None and not timeout > 0:  # nan is not, either
        raise SidetaskError(f"--timeout {timeout:g}: it is a number of seconds above 0")
    return _without_terminal(
        text,
        model,
        app,
        cwd,
        mcp=mcp,
        yes=yes,
        as_json=json,
        trace=trace,
        record=record,
        timeout=timeout,
    )


@app.command(group=TALK)
def demo(
    *,
    picture: Annotated[
        Path, Parameter(["--picture", "-p"], help="Where the timeline is written, as SVG.")
    ] = Path("timeline.svg"),
    cwd: Directory = None,
) -> int:
    """See what this is for, in a quarter of a minute and without a key.

    Fifty sub-agents read the files here, a few at a time; a process detaches while the chat
    goes on; a Stop cuts a turn and spares the work; an approval stays open and holds up nobody.
    The model is scripted, all else is real. At the end the promises are checked against the
    event log, and the exit code is 1 if one was broken.
    """
    from sidetask.cli.demo import command  # noqa: PLC0415

    return command.demo(root=_enter(cwd), picture=picture)


@app.command(group=LOOK)
def events(
    conversation: str,
    /,
    *,
    store: kept.StoreUrl = kept.UNSAID,
    after: Annotated[int, Parameter(help="Begin after the event with this number.")] = 0,
    follow: Annotated[
        bool, kept.flag("Go on with what is still to come, until Ctrl-C.", "--follow", "-f")
    ] = False,
    trace: Trace = False,
    json: AsJson = False,
) -> int:
    """Print the events of a conversation that a store keeps, its own process running or not.

    The exit code is 2 if the store has none of it.

    Parameters
    ----------
    conversation
        Its id.
    """
    from sidetask.cli import log  # noqa: PLC0415
    from sidetask.stores.opening import open_store  # noqa: PLC0415

    found = open_store(to_look_into(store))
    shown = log.Shown(after=after, as_json=json, trace=trace, follow=follow)
    return asyncio.run(log.show(found, conversation, shown))


@app.command(group=EXAMINE)
def doctor(*, model: ModelName = None) -> int:
    """Make five live calls of a model, and say what works.

    A stream, a tool call, two of them at once, a reply that is cut, and the tokens. With a
    provider that costs a little money. The exit code is 1 if something does not work.
    """
    from sidetask.cli import apps, doctor  # noqa: PLC0415

    choice = apps.choose_model(None, model)
    if choice is not None:
        print(choice.why)
    name = choice.name if choice is not None else model
    if name == "you":
        raise SidetaskError("there is nothing to examine: name a model with -m")
    found = apps.find_model(name)

    def tell(finding: doctor.Finding) -> None:
        print(doctor.line(finding), flush=True)

    return 0 if asyncio.run(doctor.examine(found, tell)) else 1


@app.command(group=EXAMINE)
def replay(
    tape: Path,
    /,
    *,
    model: ModelName = None,
    calls: Annotated[bool, kept.flag("Let texts differ: compare the calls.", "--calls")] = False,
    json: Annotated[bool, kept.flag("Print one reply a line.", "--json")] = False,
) -> int:
    """Ask a model what was recorded on a tape, and show what it replies otherwise.

    Text, tool calls, tokens and seconds are compared, reply by reply. Tools are not run. The exit
    code is 1 if a reply differs or fails, tokens and seconds aside.

    Parameters
    ----------
    tape
        What --record has written, or a RecordingModel.
    """
    from sidetask.cli import apps  # noqa: PLC0415
    from sidetask.cli.replay import command  # noqa: PLC0415
    from sidetask.models.tape import read_tape  # noqa: PLC0415

    recorded = read_tape(tape)
    choice = apps.choose_model(None, model)
    name = choice.name if choice is not None else model
    if name == "you":
        raise SidetaskError("a tape is replayed against a model: name one with -m")
    found = apps.find_model(name)
    return asyncio.run(command.run(recorded, found, calls_only=calls, as_json=json))


for _command in kept.LOOKING:
    app.command(_command, group=LOOK)
for _command in kept.STEERING:
    app.command(_command, group=STEER)
upkeep.group = STEER
app.command(upkeep)
for _flag in ("--help", "--version"):
    app[_flag].group = OPTIONS
app.command(worker, group=WORK)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, and end the process with its exit code."""
    sys.exit(_guarded(lambda: app(arguments, exit_on_error=False)))


def _guarded(command: Callable[[], object]) -> int:
    """Carry a command out; what can be foreseen to go wrong is one line, and an exit code."""
    from sidetask.cli.view.screen import abandon_output, complain, tolerate  # noqa: PLC0415

    tolerate()
    try:
        code = command()
        sys.stdout.flush()
    except CycloptsError:  # cyclopts has said what is wrong
        return WRONG
    except SidetaskError as error:
        complain(str(error))
        return WRONG
    except BrokenPipeError:
        abandon_output()
        return 128 + signal.SIGPIPE
    except (KeyboardInterrupt, asyncio.CancelledError):
        # The latter where Ctrl-C comes as `asyncio.run` begins: it cancels, and forgets of what.
        return 128 + signal.SIGINT
    return code if isinstance(code, int) else 0


def _without_terminal(  # noqa: PLR0913 - the options of a command
    text: str | None,
    model: str | None,
    app: str | None,
    cwd: Path | None,
    *,
    mcp: list[str] | None,
    yes: bool,
    as_json: bool,
    trace: bool,
    record: Path | None,
    timeout: float | None = None,
    place: Place = NOWHERE,
) -> int:
    from sidetask.cli import apps, lines  # noqa: PLC0415

    root = _enter(cwd)
    choice = apps.choose_model(app, model)
    agent = apps.find_agent(app, choice.name if choice else model, root, mcp=mcp, record=record)
    if choice is not None and not apps.is_driven(agent):
        print(choice.why, file=sys.stderr)
    if choice is not None and choice.is_last_resort and text is None:
        print(f"{choice.why}; `sidetask demo` shows what this is for", file=sys.stderr)
    only = text is not None and not apps.is_driven(agent)
    manner = lines.Manner(
        approve=yes,
        as_json=as_json,
        answers_only=only,
        trace=trace,
        timeout=timeout,
        place=place,
    )
    source = lines.standard_input() if text is None else lines.OneLine(text)
    return asyncio.run(lines.hold(agent, source, manner))


def _enter(cwd: Path | None) -> Path:
    """Make `cwd` the working directory, and return what that is now."""
    if cwd is not None:
        try:
            os.chdir(cwd)
        except OSError as error:
            raise SidetaskError(f"--cwd {cwd}: {error.strerror}") from None
    return Path.cwd()
