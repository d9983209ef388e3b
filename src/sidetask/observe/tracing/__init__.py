"""Spans and metrics of a runtime, by OpenTelemetry. Importing this needs `opentelemetry-api`."""

from sidetask.observe.tracing.observer import Tracing

__all__ = ["Tracing"]
