"""What a chat is opened with: an agent out of somebody's module, or the toolbox, and a model."""

import asyncio
import importlib
import os
import re
import shlex
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from sidetask.agents.agent import AgentConfig
from sidetask.cli.toolbox import toolbox
from sidetask.core.errors import ConfigurationError, SidetaskError
from sidetask.interop.mcp import McpServer
from sidetask.models.base import Model
from sidetask.models.human import HumanModel
from sidetask.runtime.agent import Agent
from sidetask.runtime.models import finding, open_model
from sidetask.runtime.models.finding import Choice

INSTRUCTIONS = (
    "You work in the user's directory. Use the tools to look before you answer. A command that"
    " takes long goes on in the background; its result comes by itself."
)


_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.S)


def find_agent(
    app: str | None,
    model: str | None,
    root: Path,
    *,
    mcp: Sequence[str] | None = None,
    record: Path | None = None,
) -> AgentConfig:
    """The agent of a chat, with its model opened; `mcp`: the servers that it gets besides,
    `record`: the tape that its model is recorded on.

    Raises:
        SidetaskError: There is no such app or model, or it cannot be used. Says why.
    """
    servers = [find_server(each) for each in mcp or ()]
    agent = _find_agent(app, model, root).with_tools(*servers)
    return agent if record is None else _recorded(agent, record)


def _recorded(agent: AgentConfig, tape: Path) -> AgentConfig:
    if isinstance(agent.model, str) or is_driven(agent):
        raise ConfigurationError("you drive, so there is no model to record: name one with -m")
    from sidetask.models.tape import RecordingModel  # noqa: PLC0415 - for those who record

    return replace(agent, model=RecordingModel(agent.model, tape))


def find_server(wanted: str) -> McpServer:
    """The server that `--mcp` names: an address, or a command as in a shell. Its tools have its
    name before theirs: the toolbox has a `read_file` too.

    Raises:
        ConfigurationError: It is neither.
    """
    if wanted.startswith(("http://", "https://")):
        return McpServer.http(wanted, prefix=True)
    try:
        words = shlex.split(wanted)
    except ValueError as error:
        raise ConfigurationError(f"--mcp {wanted!r}: {error}") from None
    env: dict[str, str] = {}
    while words and _SETTING.fullmatch(words[0]):
        name, _, value = words.pop(0).partition("=")
        env[name] = value
    if not words:
        raise ConfigurationError("--mcp takes a command or an address: 'npx -y @scope/server'")
    return McpServer.stdio(words[0], words[1:], env=env, prefix=True)


def _find_agent(app: str | None, model: str | None, root: Path) -> AgentConfig:
    if app is None:
        return Agent(find_model(model), instructions=INSTRUCTIONS, tools=toolbox(root))
    agent = load_agent(app, root)
    if model is not None:
        return replace(agent, model=find_model(model))
    return replace(agent, model=open_model(agent.model, {}))


def choose_model(app: str | None, model: str | None) -> Choice | None:
    """Which model a chat takes, and why, if nobody said: an app says, and so does `-m`."""
    if app is not None or model is not None:
        return None
    return asyncio.run(finding.find_model(None, os.environ))


def find_model(wanted: str | None) -> Model:
    """The model of this name; without a name, the one at hand: you.

    Raises:
        UnknownModelError: There is no such model.
    """
    return open_model(wanted or "you", {})


def is_driven(agent: AgentConfig) -> bool:
    """Whether a person takes the model's seat."""
    return agent.model == "you" or isinstance(agent.model, HumanModel)


def load_agent(app: str, root: Path) -> AgentConfig:
    """The agent that `module:attribute` names; modules are looked for in `root` first.

    Raises:
        ConfigurationError: There is no such module, attribute or agent, or it can't be loaded.
    """
    found = load(app, root, "agent", AgentConfig)
    if isinstance(found, AgentConfig):
        return found
    raise ConfigurationError(f"{app} is {a(type(found).__name__)}, not an Agent")


def load(app: str, root: Path, what: str, kind: type) -> object:
    """What `module:attribute` names; `kind` is what it is to be, `what` a word for that.

    Raises:
        ConfigurationError: There is no such module or attribute, or it can't be loaded.
    """
    name, _, path = app.partition(":")
    if not name or not path:
        raise ConfigurationError(f"--app takes module:{what}, not {app!r}")
    found: object = _import(name, root)
    for attribute in path.split("."):
        found = _attribute(found, attribute, name, kind)
    return found


def _import(name: str, root: Path) -> ModuleType:
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Its own imports may miss something too: that is another error.
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigurationError(f"no module {name!r} here or among the installed") from None
        raise ConfigurationError(_told(name, error)) from error
    except SidetaskError as error:
        raise ConfigurationError(_told(name, error)) from error
    except Exception as error:  # the one boundary: whatever a stranger's module does wrong
        raise ConfigurationError(_told(name, error)) from error


def _told(name: str, error: Exception) -> str:
    """What went wrong in a module, and in which line."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "importlib" not in frame.filename]
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if len(own) > 1 else ""
    kind = "" if isinstance(error, SidetaskError) else f"{type(error).__name__}: "
    return f"{name} cannot be loaded: {kind}{error}{where}"


def _attribute(found: object, attribute: str, module: str, kind: type) -> object:
    try:
        return getattr(found, attribute)
    except AttributeError:
        pass
    others = [name for name, value in vars(found).items() if isinstance(value, kind)]
    close = get_close_matches(attribute, others) or others
    guess = f"; did you mean {module}:{' or '.join(close)}?" if close else ""
    raise ConfigurationError(f"{module} has no {attribute!r}{guess}")


def a(noun: str) -> str:
    """The noun with its article."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
