"""aimock, started once for all tests of the wires; without node they are skipped, and say so.

`SIDETASK_REQUIRE_WIRES=1` makes the missing of it a failure: that is how CI runs them.
"""

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.limits import HANG
from tests.wires.tap import Tap, tapped
from tests.wires.wires import WIRES, Wire

HERE = Path(__file__).parent


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # real sockets know no virtual clock


@pytest.fixture(scope="session")
def aimock() -> Generator[str]:
    """The address of a running aimock."""
    node = shutil.which("node")
    if node is None:
        unavailable("node is not installed")
    if not (HERE / "node_modules" / "@copilotkit" / "aimock").exists():
        unavailable("aimock is not installed: run `make wires`, or `npm ci` in tests/wires")
    server = subprocess.Popen(
        [node, "serve.mjs"], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        url = server.stdout.readline().strip()
        if not url:
            unavailable("aimock does not start")
        yield url
    finally:
        server.stdin.close()  # it ends with its input
        server.wait(timeout=HANG)
        server.stdout.close()


def unavailable(why: str) -> NoReturn:
    if os.environ.get("SIDETASK_REQUIRE_WIRES") == "1":
        pytest.fail(f"the wires cannot be tested: {why}", pytrace=False)
    pytest.skip(f"the wires are not tested: {why}")


class Script:
    """What aimock answers, whatever it is asked: one reply after the other."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._post("reset", {})

    def __call__(self, *replies: dict[str, Any]) -> None:
        """Each reply is a response of aimock's; `_` in it holds what belongs to the fixture."""
        fixtures = [
            {
                "match": {"sequenceIndex": index},
                "response": {key: value for key, value in reply.items() if key != "_"},
                "chunkSize": 4,
                **reply.get("_", {}),
            }
            for index, reply in enumerate(replies)
        ]
        self._post("fixtures", {"fixtures": fixtures})

    def _post(self, what: str, body: dict[str, Any]) -> None:
        request = urllib.request.Request(
            f"{self._url}/__aimock/{what}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=HANG):
            pass


@pytest.fixture
def script(aimock: str) -> Script:
    return Script(aimock)


@pytest.fixture
async def tap(aimock: str) -> AsyncGenerator[Tap]:
    async with tapped(aimock) as line:
        yield line


@pytest.fixture(params=WIRES, ids=lambda wire: wire.name)
def wire(request: pytest.FixtureRequest) -> Wire:
    return request.param
