"""A runtime that is traced into memory, and what holds of every trace."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import SpanContext

from sidetask.observe.tracing import Tracing
from tests.runtime.harness import talking


class Kept(SpanProcessor):
    """Every span, in the order of their beginnings; and those that have ended."""

    def __init__(self) -> None:
        self.begun: list[ReadableSpan] = []
        self.ended: list[ReadableSpan] = []

    def on_start(self, span: Any, parent_context: object = None) -> None:
        self.begun.append(span)

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


class Trace:
    """What was traced."""

    def __init__(self, *, content: bool = False) -> None:
        self._kept = Kept()
        self._reader = InMemoryMetricReader()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self._kept)
        self._meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.tracer = self.provider.get_tracer("test")
        self.tracing = Tracing(
            tracer_provider=self.provider, meter_provider=self._meters, content=content
        )

    @property
    def names(self) -> list[str]:
        """Of all spans, as they began."""
        return [span.name for span in self._kept.begun]

    @property
    def open(self) -> list[str]:
        """The spans that have not ended."""
        return [span.name for span in self._kept.begun if span.end_time is None]

    def all(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._kept.begun if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        [found] = self.all(name)
        return found

    def tree(self) -> list[str]:
        """Each span with its parents, `child < parent < ...`, as they began."""
        return [" < ".join(self._line(span)) for span in self._kept.begun]

    def links(self, span: ReadableSpan) -> list[str]:
        """What a span is linked with, and why."""
        return [
            f"{dict(link.attributes or {})['sidetask.link']}: {self._by(link.context).name}"
            for link in span.links
        ]

    def check(self) -> None:
        """Each span has ended, once."""
        assert self.open == []
        assert len(self._kept.ended) == len(self._kept.begun)

    def metrics(self) -> dict[str, list[tuple[Mapping[str, Any], Any]]]:
        """Each metric's points: attributes, and the value, or count and sum of a histogram."""
        data = self._reader.get_metrics_data()
        found: dict[str, list[tuple[Mapping[str, Any], Any]]] = {}
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    found[metric.name] = [
                        (dict(point.attributes or {}), _value(point))
                        for point in metric.data.data_points
                    ]
        return found

    def _line(self, span: ReadableSpan) -> list[str]:
        line = [span.name]
        while span.parent is not None:
            span = self._by(span.parent)
            line.append(span.name)
        return line

    def _by(self, context: SpanContext) -> ReadableSpan:
        [found] = [
            each for each in self._kept.begun if ids(each) == (context.trace_id, context.span_id)
        ]
        return found


def ids(span: ReadableSpan) -> tuple[int, int]:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def told(span: ReadableSpan, *names: str) -> list[Any]:
    """Attributes of a span."""
    return [(span.attributes or {}).get(name) for name in names]


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def _value(point: object) -> object:
    if isinstance(point, HistogramDataPoint):
        return point.count, round(point.sum, 3)
    return cast("Any", point).value


@asynccontextmanager
async def traced(
    *script: Any,
    tools: Sequence[Any | Callable[..., Any]] = (),
    content: bool = False,
    runtime: dict[str, Any] | None = None,
    **config: Any,
):
    """`talking`, traced; at the end each span has ended once."""
    trace = Trace(content=content)
    settings = {**(runtime or {}), "tracing": trace.tracing}
    async with talking(*script, tools=tools, runtime=settings, **config) as talk:
        yield talk, trace
    trace.check()
