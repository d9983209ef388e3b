"""The root of all errors, and those that any part may raise."""

from collections.abc import Iterable


class SidetaskError(Exception):
    """Root of all errors that this package raises on purpose."""


class ConfigurationError(SidetaskError, ValueError):
    """A tool, agent, runtime or policy is described in a way that cannot work."""


class MissingKeyError(ConfigurationError):
    """A provider wants an API key and there is none."""

    def __init__(self, model: str, variable: str) -> None:
        super().__init__(model, variable)
        self.model = model
        self.variable = variable
        """The environment variable that would hold it."""

    def __str__(self) -> str:
        return f"{self.model} needs an API key: set {self.variable}"


class MissingExtraError(ConfigurationError):
    """An optional part of the package is needed and not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(feature, extra)
        self.feature = feature
        self.extra = extra

    def __str__(self) -> str:
        return f"{self.feature} needs an extra: pip install 'sidetask[{self.extra}]'"


class InvalidInputError(SidetaskError, ValueError):
    """A message, id or argument from the caller was refused; nothing was changed."""


class IllegalTransitionError(SidetaskError):
    """A bug: an event arrived in a status that does not accept it."""


class NotFoundError(SidetaskError, LookupError):
    """Nothing has this id or name."""

    kind = "thing"

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        super().__init__(name)
        self.name = name
        self.known = tuple(known)

    def __str__(self) -> str:
        known = f"; there are: {', '.join(self.known)}" if self.known else ""
        return f"no {self.kind} {self.name!r}{known}"


class UnknownToolError(NotFoundError):
    """No tool of this name is registered."""

    kind = "tool"


class UnknownAgentError(NotFoundError):
    """No agent of this name is registered with the runtime."""

    kind = "agent"


class UnknownModelError(NotFoundError):
    """No model of this name can be opened."""

    kind = "model"


class CodecError(SidetaskError, ValueError):
    """Stored bytes cannot be read: corrupt, of a newer version, or of an unknown type."""
