"""What is counted and measured, as OpenTelemetry's instruments. No id is ever an attribute here:
each would be a time series of its own."""

from opentelemetry.metrics import Histogram, Meter

from sidetask.core.usage import Usage
from sidetask.observe.tracing import names

SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""The bounds that the conventions ask for in durations."""
TOKENS = tuple([4**power for power in range(14)])
"""And in numbers of tokens."""


class Meters:
    """The instruments of one runtime."""

    def __init__(self, meter: Meter) -> None:
        self._tokens = meter.create_histogram(
            names.TOKEN_USAGE,
            "{token}",
            "Tokens of a model call.",
            explicit_bucket_boundaries_advisory=TOKENS,
        )
        self._calls = _seconds(
            meter,
            names.OPERATION_DURATION,
            "How long a model call took, its wait at the gate included.",
        )
        self._alive = meter.create_up_down_counter(
            names.TASKS_ALIVE, "{task}", "Tasks that have not ended."
        )
        self._waits = _seconds(meter, names.QUEUE_WAIT, "How long a task waited for its permits.")
        self._tasks = _seconds(meter, names.TASK_DURATION, "From a task's first start to its end.")
        self._runs = _seconds(meter, names.RUN_DURATION, "How long a turn took.")
        self._refused = meter.create_counter(
            names.RATE_LIMITED, "{request}", "Model calls that were refused for a rate limit."
        )

    def used(self, model: str, usage: Usage) -> None:
        """A model call's tokens."""
        base = _of_model(model)
        self._tokens.record(usage.input_tokens, {**base, names.TOKEN_TYPE: "input"})
        self._tokens.record(usage.output_tokens, {**base, names.TOKEN_TYPE: "output"})

    def called(self, model: str, seconds: float, error_type: str | None) -> None:
        """A model call has ended."""
        base = _of_model(model)
        if error_type is not None:
            base[names.ERROR_TYPE] = error_type
        self._calls.record(seconds, base)

    def refused(self, model: str) -> None:
        """A model call was refused: a 429."""
        self._refused.add(1, _of_model(model))

    def queued(self, operation: str, name: str) -> None:
        """A task exists."""
        self._alive.add(1, _of_task(operation, name))

    def started(self, operation: str, name: str, waited: float) -> None:
        """A task begins."""
        self._waits.record(waited, _of_task(operation, name))

    def ended(self, operation: str, name: str, outcome: str, seconds: float) -> None:
        """A task has ended."""
        base = _of_task(operation, name)
        self._alive.add(-1, base)
        self._tasks.record(seconds, {**base, names.OUTCOME: outcome})

    def ran(self, agent: str | None, outcome: str, seconds: float) -> None:
        """A turn has ended."""
        base: dict[str, str] = {names.OUTCOME: outcome}
        if agent is not None:
            base[names.AGENT] = agent
        self._runs.record(seconds, base)


def _of_model(name: str) -> dict[str, str]:
    provider, model = names.provider_and_model(name)
    return {names.OPERATION: names.CHAT, names.PROVIDER: provider, names.REQUEST_MODEL: model}


def _seconds(meter: Meter, name: str, description: str) -> Histogram:
    return meter.create_histogram(
        name, "s", description, explicit_bucket_boundaries_advisory=SECONDS
    )


def _of_task(operation: str, name: str) -> dict[str, str]:
    """Tools are few; runs of agents are named as their host likes, perhaps each by its own."""
    if operation == names.EXECUTE_TOOL:
        return {names.OPERATION: operation, names.TOOL: name}
    return {names.OPERATION: operation}
