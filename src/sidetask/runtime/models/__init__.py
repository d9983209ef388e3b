"""Models by their names: opening one, and choosing one when nobody said."""

from sidetask.runtime.models.opening import Models as Models
from sidetask.runtime.models.opening import open_model as open_model

__all__ = ["Models", "open_model"]
