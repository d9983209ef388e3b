"""The page of the guide, in a real browser: `make browser`.

Without Chromium these tests say that they are skipped; `SIDETASK_REQUIRE_BROWSER=1` makes that a
failure: so CI runs them.
"""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import pytest
import uvicorn
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

import sidetask
from sidetask import Agent, AgentHandle, RunContext, background, tool
from sidetask.server.doorkeeper import App, Receive, Scope, Send
from sidetask.testing import ScriptedModel, call, reply
from tests.limits import HANG
from tests.server.asking import app_for

pytestmark = pytest.mark.browser

STATUSES = """() => {
    const status = document.querySelector("#status");
    window.statuses = [];
    new MutationObserver(() => window.statuses.push(status.textContent))
        .observe(status, {childList: true, characterData: true, subtree: true});
}"""
"""Notes what the page tells of its connection."""
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"  # real sockets know no virtual clock


@pytest.fixture(scope="module")
async def browser() -> AsyncGenerator[Browser]:
    found = [path for name in NAMES if (path := shutil.which(name))]
    if not found:
        _unavailable(f"none of {', '.join(NAMES)} is installed")
    no_sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=found[0], args=no_sandbox, timeout=1000 * HANG
        )
        expect.set_options(timeout=1000 * HANG)
        yield browser
        await browser.close()


def _unavailable(why: str) -> NoReturn:
    if os.environ.get("SIDETASK_REQUIRE_BROWSER") == "1":
        pytest.fail(f"the page cannot be tested: {why}", pytrace=False)
    pytest.skip(f"the page is not tested: {why}")


class Window:
    """An agent, its server, and a browser's window on it."""

    def __init__(self, chat: AgentHandle, page: Page, app: App) -> None:
        self.chat = chat
        self.page = page
        self.app = app
        self.server: uvicorn.Server | None = None

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    def cut(self) -> None:
        """Break every connection, without a word."""
        assert self.server is not None
        connections: set[Any] = self.server.server_state.connections
        for connection in tuple(connections):
            connection.transport.abort()

    async def say(self, text: str) -> None:
        await self.page.get_by_label("Message").fill(text)
        await self.page.get_by_role("button", name="Send").click()

    async def was(self, status: str) -> None:
        """Wait until it has told this, for however short a time."""
        await self.page.wait_for_function("it => window.statuses.includes(it)", arg=status)

    async def texts(self, selector: str) -> list[str]:
        return await self.page.locator(selector).all_inner_texts()


@asynccontextmanager
async def opened(
    browser: Browser, *script: Any, tools: Any = (), token: str | None = None, path: str = ""
) -> AsyncGenerator[Window]:
    """The page, opened on an agent whose model plays this script."""
    listening = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    problems: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            problems.append(message.text)  # a cut line or a refusal is no fault of the page

    agent = Agent(ScriptedModel(*script), tools=tools)
    async with asyncio.timeout(3 * HANG), sidetask.open(agent) as chat:
        page = await browser.new_page()
        page.set_default_timeout(1000 * HANG)
        window = Window(chat, page, app_for(chat, token))
        config = uvicorn.Config(window.serve, interface="asgi3", ws="none", log_level="critical")
        server = window.server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        page.on("console", on_console)
        page.on("pageerror", lambda error: problems.append(str(error)))
        try:
            await page.goto(address + path)
            await page.evaluate(STATUSES)
            await expect(page.locator("#status")).to_have_text("ready")
            yield window
        finally:
            await page.close()
            server.should_exit = server.force_exit = True
            await asyncio.wait({serving})
            listening.close()
    assert problems == []


async def test_a_turn_that_nobody_asked_for_appears_by_itself(browser: Browser) -> None:
    half, end = asyncio.Event(), asyncio.Event()

    @tool(route=background())
    async def crawl(ctx: RunContext[None], url: str) -> str:
        await ctx.progress(0.5, "page 5 of 10")
        half.set()
        await end.wait()
        return "done"

    script = (call("crawl", url="a.com"), "I am reading it.", "It has ten pages.")
    async with opened(browser, *script, tools=[crawl]) as window:
        await window.say("Read a.com")
        task = window.page.locator("#tasks li")
        await expect(task).to_contain_text("in the background")
        await expect(task).to_contain_text("page 5 of 10")
        await expect(task.locator("progress")).to_have_js_property("value", 0.5)
        await expect(window.page.locator(".text")).to_have_text("I am reading it.")
        assert await window.texts(".cause") == []
        end.set()
        await expect(window.page.locator(".own .text")).to_have_text("It has ten pages.")
        assert await window.texts(".cause") == ["by itself · crawl"]
        await expect(task).to_contain_text("done")
        assert await window.texts(".mine") == ["Read a.com"]
        assert await window.texts(".ghost") == []


async def test_after_a_cut_nothing_is_shown_twice_and_nothing_is_missing(browser: Browser) -> None:
    more = asyncio.Event()
    script = ("Hello.", reply("One, ", "two, ", more, "three."), "Good bye.")
    async with opened(browser, *script) as window:
        text = window.page.locator(".text")
        await window.say("Hi")
        await expect(text.last).to_have_text("Hello.")
        await window.say("Count")
        await expect(text.last).to_have_text("One, two, ")
        window.cut()
        status = window.page.locator("#status")
        await window.was("reconnecting")
        await window.chat.send("And bye")  # said while the page is away
        more.set()
        await window.chat.wait_for_idle()
        await expect(status).to_have_text("ready")
        await expect(text).to_have_text(["Hello.", "One, two, three.", "Good bye."])
        await expect(window.page.locator(".mine")).to_have_text(["Hi", "Count", "And bye"])
        await window.page.reload()
        await expect(text).to_have_text(["Hello.", "One, two, three.", "Good bye."])


async def test_a_server_that_begins_anew_clears_the_page(browser: Browser) -> None:
    async with opened(browser, "Hello.") as window:
        text = window.page.locator(".text")
        await window.say("Hi")
        await expect(text).to_have_text(["Hello."])
        async with sidetask.open(Agent(ScriptedModel("What was it?"))) as another:
            window.app = app_for(another)
            window.cut()
            await window.was("reconnecting")
            await expect(window.page.locator("#status")).to_have_text("ready")
            await window.say("Well?")
            await expect(text).to_have_text(["What was it?"])
            await expect(window.page.locator(".mine")).to_have_text(["Well?"])


@pytest.mark.parametrize(("button", "status"), [("Approve", "done"), ("Deny", "denied")])
async def test_a_person_decides_by_a_button(browser: Browser, button: str, status: str) -> None:
    sent: list[str] = []

    @tool(approval="ask")
    async def send_mail(to: str) -> str:
        sent.append(to)
        return "sent"

    async with opened(browser, call("send_mail", to="a@b.c"), "Ready.", tools=[send_mail]) as w:
        await w.say("Send it")
        asked = w.page.locator("#asking article")
        await expect(asked).to_contain_text("send_mail")
        await expect(asked.locator("pre")).to_have_text('{\n  "to": "a@b.c"\n}')
        assert sent == []
        await asked.get_by_role("button", name=button).click()
        await expect(asked).to_have_count(0)
        await expect(w.page.locator("#tasks li")).to_contain_text(status)
        await expect(w.page.locator(".text")).to_have_text("Ready.")
        assert sent == (["a@b.c"] if button == "Approve" else [])


async def test_stop_ends_the_turn_and_keeps_what_was_said(browser: Browser) -> None:
    never = asyncio.Event()
    async with opened(browser, reply("Well, ", never)) as window:
        stop = window.page.get_by_role("button", name="Stop")
        await expect(stop).to_be_hidden()
        await window.say("Talk")
        await expect(window.page.locator(".live")).to_have_text("Well, ")
        await stop.click()
        await expect(window.page.locator(".note")).to_have_text("stopped")
        assert await window.texts(".text") == ["Well, "]
        await expect(stop).to_be_hidden()


async def test_what_a_model_writes_is_text_and_no_part_of_the_page(browser: Browser) -> None:
    said = "<img src=x onerror='document.title=1'>\n\ndata: {}\n\n<b>bold</b>"
    async with opened(browser, said) as window:
        await window.say("<i>Hi</i>")
        await expect(window.page.locator(".text")).to_have_text(said)
        assert await window.page.locator("#log img, #log b, #log i").count() == 0
        assert await window.page.title() == "Chat"


async def test_a_message_that_is_refused_is_told_and_the_page_ends_with_the_agent(
    browser: Browser,
) -> None:
    async with opened(browser, "Hello.") as window:
        await window.chat.shutdown()
        await expect(window.page.locator("#status")).to_have_text("ended")
        await window.say("Hi")
        await expect(window.page.locator(".bad")).to_contain_text("is not running")
        assert await window.page.get_by_label("Message").input_value() == "Hi"


async def test_a_link_with_the_token_opens_the_page(browser: Browser) -> None:
    token = "a-token-of-some-length"
    async with opened(browser, "Hello.", token=token, path=f"?token={token}") as window:
        assert token not in window.page.url
        await window.say("Hi")
        await expect(window.page.locator(".text")).to_have_text("Hello.")
