"""The output that a turn owes, if its agent has an `output_type`."""

from sidetask.agents.tools.toolset import OutputReader
from sidetask.core.errors import InvalidInputError, OutputError
from sidetask.core.messages import ToolCall, UserMessage, user_message

REMINDERS = 2
"""How often a model that ends its turn without the output is asked for it."""


class TurnOutput:
    """Takes the output from a call of its tool, or from a reply that is nothing but the output."""

    __slots__ = ("_reader", "_reminded", "given", "value")

    def __init__(self, reader: OutputReader | None) -> None:
        self._reader = reader
        self._reminded = 0
        self.given = False
        self.value: object = None

    @property
    def owed(self) -> bool:
        return self._reader is not None and not self.given

    def is_handed_in_by(self, call: ToolCall) -> bool:
        return self._reader is not None and call.name == self._reader.schema.name

    def take(self, text: str) -> str | None:
        """Read the output; returns what does not fit. A later one replaces an earlier."""
        assert self._reader is not None
        try:
            self.value = self._reader.read(text)
        except InvalidInputError as error:
            return str(error)
        self.given = True
        return None

    def remind(self, problem: str) -> UserMessage:
        """What a model is told that ended its turn without the output.

        Raises:
            OutputError: It was told often enough.
        """
        assert self._reader is not None
        self._reminded += 1
        if self._reminded > REMINDERS:
            raise OutputError(f"no valid output after {REMINDERS} reminders: {problem}")
        return user_message(f"Call {self._reader.schema.name} with the output of this turn.")


_NONE = TurnOutput(None)
"""Of all turns that owe none: nothing in it ever changes."""


def output_of(reader: OutputReader | None) -> TurnOutput:
    """What a turn owes to this reader, if there is one."""
    return _NONE if reader is None else TurnOutput(reader)
