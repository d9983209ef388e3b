"""Making spans at the runtime's own time, and ending each of them once."""

from collections.abc import Mapping, Sequence

from opentelemetry.context import Context, attach
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)

from sidetask.observe.tracing import names

Attributes = Mapping[str, str | bool | int | float | Sequence[str]]
NOTHING: Attributes = {}
ROOT = Context()
"""Nobody's: a span that begins here begins a trace."""


class OpenSpan:
    """A span that has not ended, the context of what happens inside it, and when it began."""

    __slots__ = ("began", "context", "span")

    def __init__(self, span: Span, context: Context, began: float) -> None:
        self.span = span
        self.context = context
        self.began = began

    def enter(self) -> None:
        """Whatever the running asyncio task begins from now on is inside it."""
        if self.span.get_span_context().is_valid:  # without an SDK there is nothing to be inside
            attach(self.context)

    def set(self, attributes: Attributes) -> None:
        self.span.set_attributes(attributes)

    def tell(self, name: str, at: float, attributes: Attributes = NOTHING) -> None:
        """Something happened in it."""
        self.span.add_event(name, attributes, nanoseconds(at))

    def link(self, target: SpanContext, why: str) -> None:
        self.span.add_link(target, {names.LINK: why})

    def end(
        self, at: float, outcome: str, *, error_type: str | None = None, why: str | None = None
    ) -> None:
        """It is over; with an `error_type` it has failed."""
        span = self.span
        if span.is_recording():
            span.set_attribute(names.OUTCOME, outcome)
            if error_type is not None:
                span.set_attribute(names.ERROR_TYPE, error_type)
                span.set_status(Status(StatusCode.ERROR, why))
        span.end(nanoseconds(max(at, self.began)))


class Pen:
    """Begins spans."""

    __slots__ = ("_tracer",)

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def begin(
        self,
        name: str,
        at: float,
        *,
        attributes: Attributes,
        within: Context | None = None,
        links: Sequence[Link] = (),
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> OpenSpan:
        """`within`: what it is a part of; None: of whatever is the current span."""
        span = self._tracer.start_span(
            name,
            within,
            kind=kind,
            attributes=attributes,
            links=links,
            start_time=nanoseconds(at),
        )
        return OpenSpan(span, set_span_in_context(span, within), at)


def link(target: SpanContext, why: str) -> Link:
    """A link from a span that begins."""
    return Link(target, {names.LINK: why})


def current() -> Span:
    """The span that the running code is inside."""
    return get_current_span()


def nanoseconds(at: float) -> int:
    """A time of the runtime's clock as OpenTelemetry wants it."""
    return int(at * 1e9)
