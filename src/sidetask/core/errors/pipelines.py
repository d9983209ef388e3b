"""Errors of flows, templates and pipelines."""

from collections.abc import Iterable

from sidetask.core.errors.base import ConfigurationError, NotFoundError, SidetaskError


class FlowError(ConfigurationError):
    """A flow cannot work as it is written down. All that is wrong with it is told at once."""

    def __init__(self, flow: str, problems: Iterable[str]) -> None:
        self.flow = flow
        self.problems = tuple(problems)
        super().__init__(flow, self.problems)

    def __str__(self) -> str:
        told = "".join([f"\n- {problem}" for problem in self.problems])
        return f"the flow {self.flow!r} cannot work:{told}"


class TemplateError(SidetaskError, ValueError):
    """A template is malformed, or names what the state does not have."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what, why)
        self.what = what
        """The name between the braces, or the piece of text that cannot be read."""
        self.why = why

    def __str__(self) -> str:
        return f"{self.what!r}: {self.why}"


class UnknownRouteError(NotFoundError):
    """A pipeline's choice names none of its routes."""

    kind = "route"


class AllFailedError(SidetaskError):
    """Every branch of a race, or every try of a fallback, failed."""

    def __init__(self, name: str, failures: Iterable[tuple[str, BaseException]]) -> None:
        failures = tuple(failures)
        super().__init__(name, failures)
        self.name = name
        """Of the pipeline."""
        self.failures = failures
        """Each agent's name and its error, in the order in which they failed."""

    def __str__(self) -> str:
        told = [f"{name}: {type(error).__name__}: {error}" for name, error in self.failures]
        return "\n  ".join([f"{self.name}: all {len(told)} failed", *told])


class RoundLimitError(SidetaskError):
    """A loop used its rounds, and what it waits for was not reached."""

    def __init__(self, name: str, rounds: int, output: object) -> None:
        super().__init__(name, rounds, output)
        self.name = name
        self.rounds = rounds
        self.output = output
        """Of the last round, a JSON value."""

    def __str__(self) -> str:
        return (
            f"{self.name} did not get there in {self.rounds} rounds: raise max_rounds, or take "
            'the last output with on_limit="return"'
        )


class InvocationTimeoutError(SidetaskError, TimeoutError):
    """An agent did not end in time. It was cancelled, and has ended."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(name, seconds)
        self.name = name
        self.seconds = seconds

    def __str__(self) -> str:
        return f"{self.name} took longer than {self.seconds:g} s: give it more, or ask for less"
