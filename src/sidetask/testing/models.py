"""The model of tests: plays a script, or a tape."""

from pathlib import Path

from sidetask.models import scripted
from sidetask.models.tape import TapeModel


class ScriptedModel(scripted.ScriptedModel):
    """Plays its replies, one for each call of the model: texts, tool calls, errors, functions.

    `requests` holds what each call was given, as it was then. With `loop=True` the script
    begins anew at its end; with `record=False` requests are not kept, which long runs need.

    Raises:
        ModelError: From `stream`, when the script has run out.
    """

    @staticmethod
    def from_tape(path: str | Path, *, strict: bool = True) -> TapeModel:
        """A model whose script is a tape that `RecordingModel` made. See `TapeModel`.

        Raises:
            TapeError: There is no such file, or it is no tape.
        """
        return TapeModel(path, strict=strict)
