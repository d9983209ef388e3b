"""The person who takes the model's seat, and the language of that seat."""

from sidetask.models.human.model import HumanModel
from sidetask.models.human.seat import SeatError, complete, current_word, usage

__all__ = ["HumanModel", "SeatError", "complete", "current_word", "usage"]
