"""Turning on what watches a runtime. What traces costs an import, made when it is asked for."""

from sidetask.core.errors import ConfigurationError, MissingExtraError
from sidetask.observe.base import Observer, Observing
from sidetask.observe.logs import tell_events
from sidetask.tasks.aio.streams import Stream


def open_observer(tracing: bool | Observing, events: Stream) -> Observer | None:
    """Let one runtime's events be logged, if anybody wants that, and traced: not at all, with
    OpenTelemetry's global providers, or as you say.

    Raises:
        MissingExtraError: OpenTelemetry is not installed.
        ConfigurationError: It is neither a bool nor a `Tracing`.
    """
    tell_events(events)
    if tracing is False:
        return None
    observer = (_tracing() if tracing is True else _checked(tracing)).observer()
    events.tap(observer.hear)
    return observer


def _tracing() -> Observing:
    try:
        from sidetask.observe.tracing import Tracing  # noqa: PLC0415 - an adapter, opened by name
    except ImportError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise MissingExtraError("tracing", "otel") from None
    return Tracing()


def _checked(tracing: Observing) -> Observing:
    if not callable(getattr(tracing, "observer", None)):
        raise ConfigurationError(f"tracing takes True or a Tracing(...), not {tracing!r}")
    return tracing
