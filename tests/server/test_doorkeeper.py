"""Who is let in, and who is not."""

from collections.abc import MutableMapping
from typing import Any

import pytest

from sidetask.core.errors import ConfigurationError
from sidetask.server import Doorkeeper
from sidetask.server.doorkeeper import COOKIE, Receive, Send
from tests.server.asking import Answer, ask

TOKEN = "a-token-of-some-length"


async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await send({"type": "lifespan.startup.complete", "code": 1})
        return
    headers = [(b"content-type", b"text/plain"), *scope.get("own", [])]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"welcome"})


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8000", "LocalHost:1", "127.0.0.1:80", "[::1]:80", "a.localhost"],
)
async def test_whoever_is_on_this_machine_is_let_in(host: str) -> None:
    for client in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"):
        answer = await ask(Doorkeeper(app), headers={"host": host}, client=(client, 1))
        assert (answer.status, answer.body) == (200, b"welcome")


@pytest.mark.parametrize(
    "host",
    [
        *("evil.com", "evil.com:8000", "127.0.0.1.evil.com", "localhost.evil.com", "notlocalhost"),
        *("localhost@evil.com", "evil.com@localhost", "0.0.0.0", "192.168.0.1", "", "[::1", "::1"),
        *("localhost, evil.com", "localhost:8000:1", "[localhost]", "localhost /"),
    ],
)
async def test_a_foreign_name_is_refused_whatever_else_is_right(host: str) -> None:
    assert (await ask(Doorkeeper(app), headers={"host": host})).status == 403
    keeper = Doorkeeper(app, token=TOKEN, hosts=["agent.example.com"])
    headers = {"host": host, "authorization": f"Bearer {TOKEN}"}
    assert (await ask(keeper, headers=headers)).status == 403
    assert (await ask(keeper, f"/?token={TOKEN}", headers=headers)).status == 403


async def test_two_names_are_none() -> None:
    twice = [("host", "localhost"), ("host", "evil.com")]
    assert (await ask(Doorkeeper(app), headers=twice)).status == 403
    origins = [("origin", "http://localhost:8000"), ("origin", "http://evil.com")]
    assert (await ask(Doorkeeper(app), headers=origins)).status == 403


@pytest.mark.parametrize(
    "origin",
    [
        *("http://evil.com", "null", "http://localhost:3000", "http://localhost", "file://", "x"),
        *("http://localhost:8000.evil.com", "http://[", "ftp://localhost:8000"),
    ],
)
async def test_a_page_of_somebody_else_may_send_nothing(origin: str) -> None:
    for method in ("GET", "POST"):
        answer = await ask(Doorkeeper(app), method=method, headers={"origin": origin})
        assert (answer.status, answer.body[:5]) == (403, b"pages")


async def test_pages_of_its_own_and_those_that_are_named_may() -> None:
    keeper = Doorkeeper(app, origins=["https://App.example.com/"])
    for origin in ("http://localhost:8000", "https://localhost:8000", "https://app.example.com"):
        assert (await ask(keeper, method="POST", headers={"origin": origin})).status == 200


@pytest.mark.parametrize("client", [("192.168.0.7", 1), ("::ffff:8.8.8.8", 1), ("x", 1), None])
async def test_without_a_token_nobody_beyond_this_machine_is_let_in(client: object) -> None:
    assert (await ask(Doorkeeper(app), client=client)).status == 403


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "via", "x-real-ip"])
async def test_without_a_token_nobody_is_let_in_through_a_proxy(header: str) -> None:
    assert (await ask(Doorkeeper(app), headers={header: "127.0.0.1"})).status == 403


async def test_with_a_token_everybody_has_to_bring_it() -> None:
    keeper = Doorkeeper(app, token=TOKEN, hosts=["agent.example.com"])
    far = {"host": "agent.example.com:443"}
    given = {"authorization": f"bearer  {TOKEN}"}
    assert (await ask(keeper, headers=far | given, client=("8.8.8.8", 1))).status == 200
    assert (await ask(keeper, headers=given)).status == 200
    for bad in ("", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer", f"Basic {TOKEN}", "\xff"):
        answer = await ask(keeper, headers=far | {"authorization": bad})
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert TOKEN not in answer.body.decode()


async def test_a_link_with_the_token_leaves_a_cookie_that_is_not_the_token() -> None:
    keeper = Doorkeeper(app, token=TOKEN)
    answer = await ask(keeper, f"//evil.com/?a=1&token={TOKEN}&b=%26", scheme="https")
    assert (answer.status, answer.headers["location"]) == (303, "?a=1&b=%26")
    cookie, *rest = answer.headers["set-cookie"].split("; ")
    assert rest == ["HttpOnly", "SameSite=Strict", "Path=/", "Secure"]
    assert TOKEN not in cookie
    assert (await ask(keeper, headers={"cookie": f"other=1; {cookie}"})).status == 200
    assert (await ask(keeper, headers=[("cookie", "o=1"), ("cookie", cookie)])).status == 200
    for bad in (f"{COOKIE}={TOKEN}", cookie[:-1], f"x{cookie}", f"{COOKIE}="):
        assert (await ask(keeper, headers={"cookie": bad})).status == 401
    assert (await ask(Doorkeeper(app, token=TOKEN[::-1]), headers={"cookie": cookie})).status == 401


async def test_a_link_with_another_token_or_another_method_opens_nothing() -> None:
    keeper = Doorkeeper(app, token=TOKEN)
    for path in ("/?token=", "/?token=x", f"/?tokens={TOKEN}", f"/?x=token={TOKEN}"):
        assert (await ask(keeper, path)).status == 401
    assert (await ask(keeper, f"/?token={TOKEN}", method="POST")).status == 401


async def test_what_is_let_in_may_not_be_shown_in_a_frame() -> None:
    answer = await ask(Doorkeeper(app))
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["content-security-policy"] == "frame-ancestors 'none'"
    own = [(b"Content-Security-Policy", b"default-src 'self'")]
    answer = await ask(Doorkeeper(app), own=own)
    assert answer.headers["Content-Security-Policy"] == "default-src 'self'"
    assert "content-security-policy" not in answer.headers


async def test_a_web_socket_has_the_same_door() -> None:
    assert (
        await ask(Doorkeeper(app), type="websocket", headers={"host": "evil.com"})
    ).status == 1008
    assert (await ask(Doorkeeper(app), type="websocket")).status == 200
    assert (await ask(Doorkeeper(app, token=TOKEN), type="websocket")).status == 1008


async def test_the_life_of_the_app_is_none_of_its_business() -> None:
    answer: Answer = await ask(Doorkeeper(app), type="lifespan")
    assert answer.status == 1


@pytest.mark.parametrize("wrong", [{"token": "short"}, {"token": ""}, {"hosts": ["a.com"]}])
def test_a_door_that_would_not_close_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="token"):
        Doorkeeper(app, **wrong)
    with pytest.raises(ConfigurationError, match="ASCII"):
        Doorkeeper(app, token="ünlesbar-aber-lang-genug")
