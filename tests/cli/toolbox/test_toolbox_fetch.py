import asyncio
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.limits import HANG

from sidetask.cli.toolbox.fetch import fetch_url
from sidetask.core.errors import ToolError

PAGES = {
    "/page": ("text/html; charset=utf-8", "<p>caf\u00e9</p>".encode()),
    "/latin": ("text/plain; charset=latin-1", "caf\u00e9".encode("latin-1")),
    "/odd": ("text/plain; charset=no-such", b"odd"),
    "/bare": ("", b"bare \xff"),
    "/image": ("image/png", b"\x89PNG\0\0"),
    "/big": ("text/plain", b"x" * 3_000_000),
}
ELSEWHERE = {"/moved": "/page", "/file": "file:///etc/passwd", "/round": "/round"}


class Site(ThreadingHTTPServer):
    """A server on the loopback. `/silent` and `/slow` hold their readers until it closes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.closing = threading.Event()
        self.asked = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Site)
        if self.path in PAGES:
            kind, body = PAGES[self.path]
            self.send_response(200)
            if kind:
                self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)
        elif self.path in ELSEWHERE:
            self.send_response(302)
            self.send_header("Location", ELSEWHERE[self.path])
            self.end_headers()
        elif self.path == "/silent":
            self.server.asked.set()
            self.server.closing.wait(HANG)
        elif self.path == "/broken":
            self.wfile.write(b"no http at all\r\n\r\n")
        else:
            self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            return  # the client had enough


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/page", "<p>caf\u00e9</p>"),
        ("/latin", "caf\u00e9"),
        ("/odd", "odd"),
        ("/bare", "bare \ufffd"),
        ("/moved", "<p>caf\u00e9</p>"),
    ],
)
async def test_a_page_is_decoded_by_its_charset_and_left_as_it_is(
    site: Site, path: str, text: str
) -> None:
    assert await fetch_url(site.url + path) == text


async def test_a_big_page_is_cut(site: Site) -> None:
    assert await fetch_url(f"{site.url}/big") == "x" * 1024 * 1024 + "\n[cut after 1,048,576 bytes]"


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/none", "answered 404 Not Found"),
        ("/image", r"is binary \(image/png\)"),
        ("/file", "can't be fetched|answered 302"),
        ("/round", "answered 302"),
        ("/broken", "can't be fetched"),
        ("/a b", "can't be fetched"),
    ],
)
async def test_what_is_no_text_is_a_clear_error(site: Site, path: str, error: str) -> None:
    with pytest.raises(ToolError, match=error):
        await fetch_url(site.url + path)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://host/x", "data:,x", "README.md", "", "http://", "http://[x"],
)
async def test_only_http_addresses_are_fetched(url: str) -> None:
    with pytest.raises(ToolError, match="is no address"):
        await fetch_url(url)


async def test_a_closed_port_is_a_clear_error() -> None:
    with socket.socket() as deaf:  # bound and not listening
        deaf.bind(("127.0.0.1", 0))
        with pytest.raises(ToolError, match=r"can't be fetched: .*refused"):
            await fetch_url(f"http://127.0.0.1:{deaf.getsockname()[1]}")


@pytest.mark.slow
async def test_a_silent_server_is_given_up_after_the_timeout(site: Site) -> None:
    with pytest.raises(ToolError, match=r"was not there within 0\.05 s"):
        await fetch_url(f"{site.url}/silent", timeout=0.05)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), 301])
async def test_a_timeout_out_of_range_is_refused(timeout: float) -> None:
    with pytest.raises(ToolError, match="timeout is seconds"):
        await fetch_url("http://host", timeout)


async def test_a_cancel_does_not_wait_for_the_server(site: Site) -> None:
    task = asyncio.create_task(fetch_url(f"{site.url}/silent"))
    async with asyncio.timeout(HANG):
        await asyncio.to_thread(site.asked.wait, HANG)
        task.cancel()
        await asyncio.wait({task})
    assert task.cancelled()
    assert not site.closing.is_set()
