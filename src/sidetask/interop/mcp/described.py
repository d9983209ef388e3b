"""What a server says of its tools, as tools of ours. All of it is somebody else's text.

* A name that no model could be told is mapped to one that it can: what is no letter, digit, `_`
  or `-` becomes `_`. Where that meets another name, or is too long, a digest of the name that
  the server gave ends it, so that it is the same tomorrow.
* Descriptions are cut, and a tool whose schema is huge is left out: both are in every prompt.
* What a server hints of a tool decides one thing only: whether a call is sent again whose line
  was lost. It opens no door: what may run is the business of policies and approvals.
"""

import json
import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Protocol, cast

from mcp.shared.dispatcher import ProgressFnT
from mcp_types import CallToolResult
from mcp_types import Tool as Described

from sidetask.agents.tools.asking import Arguments, Context
from sidetask.agents.tools.tool import AnyTool, Tool, ToolOptions
from sidetask.core.errors import ConfigurationError
from sidetask.core.jsons import Json, JsonObject
from sidetask.core.routing import DEFAULT_POLICY
from sidetask.interop.mcp.results import to_result
from sidetask.interop.mcp.server import McpServer

MAX_DESCRIPTION = 4_096
"""Characters."""
MAX_SCHEMA = 64 * 1024
"""Characters, as JSON."""
MAX_TOOLS = 512
MAX_NOTE = 500
"""Characters of what a server says beside a progress."""
_LONGEST_NAME = 64
_DIGITS = 6
_NOT_TOLD = re.compile(r"[^a-zA-Z0-9_-]")

_log = logging.getLogger("sidetask.interop.mcp")


class Call(Protocol):
    """Calls a tool of the server."""

    async def __call__(
        self, tool: str, arguments: JsonObject, heard: ProgressFnT, *, repeatable: bool
    ) -> CallToolResult: ...


def to_tools(server: McpServer, described: Sequence[Described], call: Call) -> list[AnyTool]:
    """The tools that agents of this server get.

    Raises:
        ConfigurationError: One is asked for that it has not, or is given a name that is none.
    """
    listed = {each.name: each for each in described[:MAX_TOOLS]}
    only = server.options.get("only")
    for name in sorted({*(only or ()), *server.options.get("each", {})} - listed.keys()):
        raise ConfigurationError(
            f"the server {server.name!r} has no tool {name!r}; there are: {', '.join(listed)}"
        )
    names = told_names(server, listed)
    found: list[AnyTool] = []
    for name in names:
        if only is not None and name not in only:
            continue
        if len(json.dumps(listed[name].input_schema)) > MAX_SCHEMA:
            _log.warning("%s: the schema of %.64r is too large: left out", server.name, name)
            continue
        found.append(_to_tool(server.tool_options(name), names[name], listed[name], call))
    return found


def told_names(server: McpServer, names: Iterable[str]) -> Mapping[str, str]:
    """For each name that the server gives, the one that a model is told."""
    prefix = f"{server.name}_" if server.options.get("prefix") else ""
    wanted = {name: _NOT_TOLD.sub("_", f"{prefix}{name}") for name in names}
    times = Counter(wanted.values())
    return {
        name: told
        if len(told) <= _LONGEST_NAME and (times[told] == 1 or told == f"{prefix}{name}")
        else _with_digest(told, name)
        for name, told in wanted.items()
    }


def _with_digest(told: str, name: str) -> str:
    digest = sha256(name.encode(errors="replace")).hexdigest()[:_DIGITS]
    return f"{told[: _LONGEST_NAME - _DIGITS - 1]}_{digest}"


def _to_tool(options: ToolOptions, name: str, described: Described, call: Call) -> AnyTool:
    hints = described.annotations
    repeatable = hints is not None and bool(hints.read_only_hint or hints.idempotent_hint)
    policy = options.get("policy") or DEFAULT_POLICY
    repeatable = repeatable or policy.idempotent

    async def body(arguments: Arguments, ctx: Context) -> object:
        heard = partial(_tell, ctx)
        return to_result(await call(described.name, arguments, heard, repeatable=repeatable))

    given: ToolOptions = {
        "name": name,
        "description": _shortened(described.description or described.title or ""),
        **options,
        "policy": replace(policy, idempotent=repeatable),
    }
    return cast("AnyTool", Tool.from_schema(body, _object(described.input_schema), **given))


async def _tell(ctx: Context, progress: float, total: float | None, message: str | None) -> None:
    """Hand a progress on. Servers count in what they like, and not always up to their total."""
    fraction = None
    if total is not None and math.isfinite(progress) and math.isfinite(total) and total > 0:
        fraction = min(max(progress / total, 0.0), 1.0)
    await ctx.progress(fraction, (message or "")[:MAX_NOTE])


def _shortened(text: str) -> str:
    if len(text) <= MAX_DESCRIPTION:
        return text
    return f"{text[:MAX_DESCRIPTION]} [... {len(text) - MAX_DESCRIPTION:,} more characters]"


def _object(schema: Mapping[str, Json]) -> JsonObject:
    """A schema that every provider takes: some refuse one without a type or properties."""
    return {**schema, "type": "object", "properties": schema.get("properties", {})}
