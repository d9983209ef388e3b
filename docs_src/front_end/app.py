"""A front end of one's own: one page, what it may say, and the events of one conversation."""

import asyncio
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

import sidetask
from sidetask import Agent, AgentHandle, RunContext, SidetaskError, tool
from sidetask.core.errors import AgentNotStartedError
from sidetask.server import Doorkeeper, sse

PAGE = Path(__file__).with_name("page.html").read_text("utf-8")


# region app
def app_for(chat: AgentHandle, token: str | None = None) -> Doorkeeper:
    async def page(_: Request) -> Response:
        return HTMLResponse(PAGE)

    async def message(request: Request) -> Response:
        await chat.send((await request.body()).decode())
        return Response(status_code=202)

    async def interrupt(_: Request) -> Response:
        await chat.interrupt()
        return Response(status_code=204)

    async def decide(request: Request) -> Response:
        id, decision = request.path_params["id"], request.path_params["decision"]
        (chat.approvals.approve if decision == "approve" else chat.approvals.deny)(id, by="page")
        return Response(status_code=204)

    async def events(request: Request) -> Response:
        try:
            frames = sse(chat, request.headers.get("last-event-id"))
        except AgentNotStartedError:
            return Response(status_code=204)  # tells a browser not to come back
        headers = {"content-type": "text/event-stream", "cache-control": "no-store"}
        return StreamingResponse(frames, headers=headers)

    async def refuse(_: Request, error: Exception) -> Response:
        return PlainTextResponse(str(error), status_code=400)

    routes = [
        Route("/", page),
        Route("/message", message, methods=["POST"]),
        Route("/interrupt", interrupt, methods=["POST"]),
        Route("/approvals/{id}/{decision}", decide, methods=["POST"]),
        Route("/events", events),
    ]
    refusals = {SidetaskError: refuse, UnicodeDecodeError: refuse}
    return Doorkeeper(Starlette(routes=routes, exception_handlers=refusals), token=token)


# endregion app


@tool(detach_after=3)
async def crawl(ctx: RunContext[None], url: str) -> str:
    """Read the pages of a site."""
    for page in range(1, 11):
        await ctx.progress(page / 10, f"page {page} of 10")
        await asyncio.sleep(2)
    return f"{url} has 10 pages."


@tool(approval="ask")
async def send_mail(to: str, subject: str, text: str) -> str:
    """Send a mail."""
    return f"sent to {to}"


# region serve
async def serve() -> None:
    async with sidetask.open(Agent("openai:gpt-5.2", tools=[crawl, send_mail])) as chat:
        config = uvicorn.Config(
            app_for(chat), host="127.0.0.1", port=8000, timeout_graceful_shutdown=1
        )
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(serve())
# endregion serve
