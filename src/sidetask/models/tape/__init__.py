"""Tapes: what a model was asked and what it replied, recorded in a file and played from it."""

from sidetask.models.tape.format import RecordedCall, read_tape
from sidetask.models.tape.playing import TapeModel
from sidetask.models.tape.recording import RecordingModel

__all__ = ["RecordedCall", "RecordingModel", "TapeModel", "read_tape"]
