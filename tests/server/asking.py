"""An ASGI app asked without a socket, and the app of the guide."""

import importlib.util
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from sidetask import AgentHandle
from sidetask.server.doorkeeper import App

EXAMPLE = Path(__file__).resolve().parents[2] / "docs_src" / "front_end" / "app.py"
HERE = ("127.0.0.1", 50_000)


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""


async def ask(
    app: App,
    path: str = "/",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    **scope: Any,
) -> Answer:
    """Send one request and take its whole answer."""
    answer = Answer()
    given = list(headers.items()) if isinstance(headers, Mapping) else headers
    if "host" not in dict(given):
        given = [("host", "localhost:8000"), *given]
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given],
        "client": HERE,
        "scheme": "http",
        **scope,
    }

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {key.decode(): value.decode() for key, value in message["headers"]}
        elif message["type"] == "http.response.body":
            answer.body += message.get("body", b"")
        else:
            answer.status = message["code"]

    await app(scope, receive, send)
    return answer


def app_for(chat: AgentHandle, token: str | None = None) -> App:
    """What the guide's `app.py` makes of a live agent."""
    return _example().app_for(chat, token)


@cache
def _example() -> Any:
    spec = importlib.util.spec_from_file_location("docs_example_front_end", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
