"""The server of the guide, asked without a socket."""

import asyncio

from sidetask import tool
from sidetask.testing import call
from tests.runtime.harness import beside, settle, talking
from tests.server.asking import app_for, ask
from tests.server.reading import Browser, facts


async def test_what_the_page_says_is_done_and_told() -> None:
    async with talking("Hello.") as talk:
        app = app_for(talk.chat)
        asgi = {"spec_version": "2.4"}
        streaming = await beside(ask(app, "/events", asgi=asgi, headers={"last-event-id": "1"}))
        assert (await ask(app, "/message", method="POST", body="Grüß dich".encode())).status == 202
        await talk.chat.wait_for_idle()
        await talk.chat.shutdown()
        stream = await streaming
        assert stream.headers["content-type"] == "text/event-stream"
        found = Browser().feed(stream.body)
        assert facts(found) == [event.seq for event in talk.events if not event.live]
        assert found[-1].kind == "closed"
        assert talk.said() == ["Grüß dich", "Hello."]
        assert (await ask(app, "/events")).status == 204


async def test_what_makes_no_sense_is_refused_in_words() -> None:
    async with talking() as talk:
        app = app_for(talk.chat)
        for path, body, word in (
            ("/message", b" ", b"empty"),
            ("/message", b"\xff", b"decode"),
            ("/approvals/approval-9/approve", b"", b"approval-9"),
        ):
            answer = await ask(app, path, method="POST", body=body)
            assert (answer.status, word in answer.body) == (400, True)
        answer = await ask(app, "/events", headers={"last-event-id": "x"})
        assert (answer.status, b"no id of an event" in answer.body) == (400, True)
        evil = {"origin": "http://evil.com"}
        assert (await ask(app, "/message", method="POST", body=b"Hi", headers=evil)).status == 403
        assert talk.events == []


async def test_a_person_stops_and_decides() -> None:
    never = asyncio.Event()

    @tool(approval="ask")
    async def send_mail(to: str) -> str:
        return "sent"

    async with talking(call("send_mail", to="a"), ["Sent.", never], tools=[send_mail]) as talk:
        app = app_for(talk.chat)
        assert b"<!doctype html>" in (await ask(app, "/")).body
        await ask(app, "/message", method="POST", body=b"Send it")
        await settle()
        (asked,) = talk.chat.approvals
        path = f"/approvals/{asked.id}/approve"
        assert (await ask(app, path, method="POST")).status == 204
        assert (await ask(app, path, method="POST")).status == 400, "it is decided already"
        await settle()
        assert (await ask(app, "/interrupt", method="POST")).status == 204
        assert talk.runs() == ["run_cancelled"]
        assert talk.said()[-1] == "Sent."
