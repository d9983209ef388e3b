"""Opening a model by its name."""

from collections.abc import Mapping

from sidetask.core.errors import UnknownModelError
from sidetask.models.base import Model
from sidetask.models.human import HumanModel


def open_model(wanted: str | Model, registered: Mapping[str, Model]) -> Model:
    """Return a model: itself, one registered under the name, or `"you"`, which you drive.

    Raises:
        UnknownModelError: No model has this name.
    """
    if not isinstance(wanted, str):
        return wanted
    if wanted in registered:
        return registered[wanted]
    if wanted == "you":
        return HumanModel()
    raise UnknownModelError(wanted, ["you", *registered])
