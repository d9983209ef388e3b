"""Every provider that pydantic-ai knows, through its model layer only: never its Agent.

This package is the one place that imports pydantic-ai, which takes a second. It is opened by
name, by `runtime.models`; who writes `PydanticAIModel(...)` imports it himself.
"""

from sidetask.models.pydantic_ai.model import PydanticAIModel as PydanticAIModel
from sidetask.models.pydantic_ai.opening import open_named as open_named
from sidetask.models.pydantic_ai.opening import openai_compatible as openai_compatible

__all__ = ["PydanticAIModel", "open_named", "openai_compatible"]
