"""What a worker answers over HTTP, and to whom."""

import http.client
import socket
import threading
import time
from collections.abc import Callable, Generator
from urllib.parse import urlsplit

import pytest

from sidetask.core.errors import ConfigurationError
from sidetask.worker.counters import Counters, Gauges, as_text
from sidetask.worker.health import HealthServer
from tests.limits import HANG

TOKEN = "a-token-that-is-long-enough"
Ask = Callable[..., tuple[int, str]]


def asking(server: HealthServer) -> Ask:
    def ask(path: str, **headers: str) -> tuple[int, str]:
        place = urlsplit(server.url)
        line = http.client.HTTPConnection(place.hostname or "", place.port, timeout=HANG)
        try:
            line.request("GET", path, headers=headers)
            answer = line.getresponse()
            return answer.status, answer.read().decode()
        finally:
            line.close()

    return ask


@pytest.fixture
def ask() -> Generator[Ask]:
    server = HealthServer({"/healthz": lambda: (200, "ok\n"), "/readyz": lambda: (503, "no\n")})
    yield asking(server)
    server.close()


@pytest.mark.slow
def test_each_page_is_asked_for_by_its_path(ask: Ask) -> None:
    assert ask("/healthz") == (200, "ok\n")
    assert ask("/healthz?a=b") == (200, "ok\n")
    assert ask("/readyz") == (503, "no\n")
    assert ask("/else") == (404, "there are: /healthz, /readyz\n")


@pytest.mark.slow
def test_without_a_token_it_answers_under_names_of_this_machine_alone(ask: Ask) -> None:
    assert ask("/healthz", Host="localhost:80")[0] == 200
    assert ask("/healthz", Host="[::1]:80")[0] == 200
    assert ask("/healthz", Host="evil.example")[0] == 403
    assert ask("/healthz", Host="")[0] == 403


@pytest.mark.slow
def test_with_a_token_it_answers_who_brings_it_under_any_name() -> None:
    server = HealthServer({"/healthz": lambda: (200, "ok\n")}, host="0.0.0.0", token=TOKEN)
    ask = asking(server)
    try:
        assert ask("/healthz")[0] == 401
        assert ask("/healthz", Authorization="Bearer wrong-one-of-the-same-len")[0] == 401
        assert ask("/healthz", Authorization=f"Basic {TOKEN}")[0] == 401
        assert ask("/healthz", Authorization=f"Bearer {TOKEN}", Host="10.0.0.7")[0] == 200
    finally:
        server.close()


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"host": "0.0.0.0"}, "beyond this machine: give --token"),
        ({"token": "short"}, "16 ASCII characters or more"),
        ({"port": 70_000}, "nothing can listen at 127.0.0.1:70000"),
        ({"host": "192.0.2.1", "token": TOKEN}, "nothing can listen at 192.0.2.1"),
    ],
)
def test_an_address_that_cannot_be_is_refused(how: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why.replace(".", r"\.")):
        HealthServer({}, **how)  # pyright: ignore[reportArgumentType]


def test_the_numbers_are_in_the_format_of_prometheus() -> None:
    counted = Counters(claims=3, reaped=2, parked=1, busy=1.5)
    counted.ends["failed"] = 4
    now = Gauges(ready=True, running=2, waiting=1, concurrency=20)
    lines = as_text(counted, now, 'a "quoted" name', 7).splitlines()
    assert 'sidetask_worker_jobs_total{end="failed"} 4' in lines
    assert 'sidetask_worker_info{worker="a \\"quoted\\" name"} 1' in lines
    assert {"sidetask_worker_claims_total 3", "sidetask_worker_queued 7"} <= set(lines)
    names = {line.split("{")[0].split(" ")[0] for line in lines if not line.startswith("#")}
    for name in names:
        assert sum(line.startswith((f"# HELP {name} ", f"# TYPE {name} ")) for line in lines) == 2
    assert not any("queued" in line for line in as_text(counted, now, "w", None).splitlines())


@pytest.mark.slow
def test_who_holds_many_connections_open_gets_no_more_threads() -> None:
    server = HealthServer({"/healthz": lambda: (200, "ok\n")})
    place, ask = urlsplit(server.url), asking(server)
    before = threading.active_count()
    silent = [socket.create_connection((place.hostname or "", place.port or 0)) for _ in range(40)]
    assert silent[-1].recv(1) == b"", "it is turned away"
    assert threading.active_count() - before <= 32
    for each in silent:
        each.close()
    until = time.monotonic() + HANG
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert ask("/healthz") == (200, "ok\n")
    server.close()
