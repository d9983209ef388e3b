"""The spans of a conversation in which a call detaches."""

import asyncio

# region provider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import sidetask
from sidetask import Agent, tool
from sidetask.observe.tracing import Tracing
from sidetask.testing import ScriptedModel, call

spans = InMemorySpanExporter()  # yours sends them to a collector
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(SimpleSpanProcessor(spans))
# endregion provider

# region tool
tracer = provider.get_tracer("crawler")


@tool(detach_after=0.2)
async def crawl(site: str) -> str:
    """Read all pages of a site."""
    with tracer.start_as_current_span("fetch"):  # is inside the tool's span
        await asyncio.sleep(1)
    return f"{site} has 12 pages"


# endregion tool

script = call("crawl", site="a.com"), "I am reading it.", "12 pages!"
agent = Agent(ScriptedModel(*script), tools=[crawl], name="guide")


# region main
async def main() -> None:
    async with sidetask.open(agent, tracing=Tracing(tracer_provider=provider)) as chat:
        await chat.ask("How big is a.com?")
        async for turn in chat.turns(until="idle"):
            await turn
    show(None)


# endregion main


def show(parent: ReadableSpan | None, depth: int = 0) -> None:
    inside = parent.context.span_id if parent is not None and parent.context else None
    for span in sorted(spans.get_finished_spans(), key=lambda span: span.start_time or 0):
        if (span.parent.span_id if span.parent else None) == inside:
            linked = [dict(link.attributes or {})["sidetask.link"] for link in span.links]
            print("  " * depth + span.name, *linked)
            show(span, depth + 1)


if __name__ == "__main__":
    asyncio.run(main())
