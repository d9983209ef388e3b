"""Tracing is off until it is asked for, and asleep until there is somebody to tell."""

import subprocess
import sys
import textwrap

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from sidetask import Runtime
from sidetask.core.errors import ConfigurationError
from sidetask.observe.tracing import Tracing
from tests.limits import HANG
from tests.runtime.harness import talking


def printed(code: str) -> list[str]:
    """What a fresh interpreter prints: OpenTelemetry's providers are the process's."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_nothing_is_traced_until_there_is_an_sdk_which_may_come_late() -> None:
    assert printed("""
        import asyncio, sidetask
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from sidetask.testing import ScriptedModel, VirtualClock

        kept = InMemorySpanExporter()

        async def main():
            agent = sidetask.Agent(ScriptedModel("One.", "Two."))
            async with sidetask.open(agent, tracing=True) as chat:
                await chat.ask("one")
                provider = TracerProvider(shutdown_on_exit=False)
                provider.add_span_processor(SimpleSpanProcessor(kept))
                trace.set_tracer_provider(provider)
                await chat.ask("two")

        VirtualClock().run(main())
        print(*[(span.name, span.attributes.get("sidetask.turn.id")) for span in
                kept.get_finished_spans()], sep="\\n")
    """) == ["('chat scripted', None)", "('invoke_agent agent', 'turn-2')"]


@pytest.mark.slow
def test_who_does_not_trace_does_not_load_opentelemetry() -> None:
    assert printed("""
        import sys, sidetask
        sidetask.Runtime()
        print("opentelemetry" in sys.modules)
    """) == ["False"]


@pytest.mark.slow
def test_without_opentelemetry_the_error_says_what_to_install() -> None:
    [told] = printed("""
        import sys, sidetask
        sys.modules["opentelemetry"] = None
        try:
            sidetask.Runtime(tracing=True)
        except sidetask.SidetaskError as error:
            print(error)
    """)
    assert told == "tracing needs an extra: pip install 'sidetask[otel]'"


async def test_metrics_need_no_spans() -> None:
    reader = InMemoryMetricReader()
    tracing = Tracing(meter_provider=MeterProvider([reader], shutdown_on_exit=False))
    async with talking("Hello.", runtime={"tracing": tracing}) as talk:
        await talk.chat.ask("Hi.")
    data = reader.get_metrics_data()
    assert data is not None
    [scope] = data.resource_metrics[0].scope_metrics
    assert "sidetask.run.duration" in [metric.name for metric in scope.metrics]


def test_what_is_no_tracing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="tracing takes True"):
        Runtime(tracing="yes")  # pyright: ignore[reportArgumentType] - what callers may do
