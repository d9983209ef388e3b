"""What a server is: a frozen description of how it is reached, and of what its tools may do.

It costs nothing until it is opened, and the library of the protocol is imported only then.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import PurePath
from typing import Self, TypedDict, Unpack, cast
from urllib.parse import urlsplit

from sidetask.agents.tools.asking import ApprovalRule
from sidetask.agents.tools.source import OpenTools, ToolSource
from sidetask.agents.tools.tool import ToolOptions
from sidetask.core.errors import ConfigurationError, MissingExtraError
from sidetask.core.errors.checks import check_seconds
from sidetask.core.routing import OnCompleteLike, Route, TaskPolicy

OPENING = "sidetask.interop.mcp.opening"
"""Where the library is needed: loaded by name, by the first server that is opened."""
START_TIMEOUT = 60.0
"""Seconds: a runner such as `npx` may have to download the server first."""
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,32}")
_RUNNERS = {"bunx", "deno", "node", "npx", "pipx", "py", "python", "python3", "uv", "uvx"}
_VERBS = {"dlx", "exec", "run", "x"}


class ServerOptions(TypedDict, total=False):
    """What may be said of a server's tools. From `detach_after` on it is what `@tool` takes, for
    all of them; `each` says it of single ones."""

    prefix: bool
    """Put the server's name before each tool's: `git_log`."""
    only: Collection[str]
    """The tools that an agent gets, by the names that the server gives them; else all."""
    start_timeout: float
    """Seconds that it may take to start, or to answer at first; else 60."""
    detach_after: float
    route: Route
    approval: ApprovalRule
    on_complete: OnCompleteLike
    policy: TaskPolicy
    each: Mapping[str, ToolOptions]
    """What is different for a tool, by the name that the server gives it; here it may also be
    given another `name` and `description`."""


@dataclass(frozen=True, slots=True)
class Process:
    """A server that is a process of ours, spoken to over its standard input and output."""

    command: str
    args: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    """Besides the few variables that it inherits: there may be keys in ours."""
    cwd: str | None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that runs already, spoken to over streamable HTTP."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Local:
    """A server in this very process, made with the library."""

    server: object


@dataclass(frozen=True, slots=True, eq=False)
class McpServer(ToolSource):
    """A server whose tools an agent is given: `Agent(model, tools=[server])`.

    Make one by `stdio` or `http`; by `local` for a test. All live agents of a runtime that name
    the same object share one connection, and one process.
    """

    name: str
    at: Process | Endpoint | Local
    options: ServerOptions = field(repr=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"{self.name!r} is no name for a server: give name=, of 1 to 32 letters, digits,"
                " '_' and '-'"
            )
        unknown = self.options.keys() - ServerOptions.__annotations__.keys()
        if unknown:
            raise ConfigurationError(
                f"server {self.name!r} has no option {', '.join(sorted(unknown))}; there are:"
                f" {', '.join(ServerOptions.__annotations__)}"
            )
        if isinstance(self.options.get("only"), str):
            raise ConfigurationError(f"server {self.name!r}: only= takes a list of names")
        check_seconds("start_timeout", self.start_timeout)

    @classmethod
    def stdio(
        cls,
        command: str,
        args: Sequence[str] = (),
        *,
        name: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        **options: Unpack[ServerOptions],
    ) -> Self:
        """A server that is started as a process, and ended with the last agent that uses it.

        It inherits PATH, HOME and a few more variables, and gets those in `env`. What it writes
        to its standard error goes to the log `sidetask.interop.mcp`. The name is else told by
        the command: `uvx mcp-server-git` is `mcp-server-git`.

        Raises:
            ConfigurationError: No such option, or no name.
        """
        if isinstance(args, str):
            raise ConfigurationError(f"give the arguments as a list: args={args.split()!r}")
        at = Process(command, tuple(args), dict(env or {}), cwd)
        return cls(name or _of_command(command, at.args), at, options)

    @classmethod
    def http(
        cls,
        url: str,
        *,
        name: str | None = None,
        headers: Mapping[str, str] | None = None,
        **options: Unpack[ServerOptions],
    ) -> Self:
        """A server at an address. `headers` go with each request. The name is else the host's.

        Raises:
            ConfigurationError: No such option, or the address is none.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigurationError(f"{url!r} is no address of a server: http://host/mcp")
        return cls(name or _cleaned(parts.hostname), Endpoint(url, dict(headers or {})), options)

    @classmethod
    def local(cls, server: object, *, name: str, **options: Unpack[ServerOptions]) -> Self:
        """A server object of the `mcp` library, called without a process between: for tests.

        Raises:
            ConfigurationError: No such option, or no name.
        """
        return cls(name, Local(server), options)

    @property
    def start_timeout(self) -> float:
        return self.options.get("start_timeout", START_TIMEOUT)

    async def open(self) -> OpenTools:
        """Start it, or connect to it. For one who is no agent: `(await server.open()).tools()`.

        Raises:
            ToolServerError: It does not start, or does not answer.
            MissingExtraError: `mcp` is not installed.
        """
        try:
            opening = import_module(OPENING)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in {"mcp", "mcp_types"}:
                raise
            raise MissingExtraError(f"the server {self.name!r}", "mcp") from None
        return await opening.open_server(self)

    def tool_options(self, tool: str) -> ToolOptions:
        """What is said of the tool that the server calls so."""
        keys = ToolOptions.__annotations__
        common = {key: value for key, value in self.options.items() if key in keys}
        own = self.options.get("each", {}).get(tool, {})
        if own.keys() & {"detach_after", "route"}:  # each replaces the other
            common = {key: common[key] for key in common.keys() - {"detach_after", "route"}}
        return cast("ToolOptions", {**common, **own})


def _of_command(command: str, args: Sequence[str]) -> str:
    """What is started, without who starts it: `npx -y @scope/files@2 /tmp` is `files`."""
    words = [PurePath(command).stem]
    if words[0] in _RUNNERS:
        words = [each for each in args if not each.startswith("-") and each not in _VERBS] or words
    package = words[0].rstrip("/").rpartition("/")[2].partition("@")[0]
    return _cleaned(package.removesuffix(".py").removesuffix(".js"))


def _cleaned(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_-]+", "-", text).strip("-")[:32] or "server"
