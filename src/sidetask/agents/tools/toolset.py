"""The tools of one live agent, by name, with all that is built once and not for each call."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sidetask.agents.tools.tool import AnyTool
from sidetask.core.errors import ConfigurationError
from sidetask.core.routing import OnInterrupt, TaskKind
from sidetask.models.base import ToolSchema
from sidetask.tasks.parts.runner import Executor


class OutputReader(Protocol):
    """How the output of a turn is asked for and read."""

    schema: ToolSchema
    """Of the tool by which a model hands it in."""

    def read(self, text: str) -> object:
        """Validate JSON text that a model wrote.

        Raises:
            InvalidInputError: It does not fit; the error says where.
        """
        ...


class Toolset:
    """An agent's own tools, and the ones for its tasks where it can have any.

    Raises:
        ConfigurationError: Two tools of one name, or an output type without a schema.
    """

    def __init__(
        self,
        tools: Sequence[AnyTool],
        *,
        output_type: type[Any] | None = None,
        task_tools: Sequence[AnyTool] = (),
        routed: bool = False,
    ) -> None:
        if routed or any(_may_leave_its_turn(each) for each in tools):
            own = {each.name for each in tools}
            tools = (*tools, *(each for each in task_tools if each.name not in own))
        self.tools: Mapping[str, AnyTool] = {each.name: each for each in tools}
        self.executors: Mapping[str, Executor] = {each.name: each.execute for each in tools}
        self.output: OutputReader | None = None
        schemas = [each.schema for each in tools]
        if output_type is not None and output_type is not str:  # a text is what a turn ends with
            # Loaded only where it is used: it brings pydantic along.
            from sidetask.agents.tools.structured import OutputSpec  # noqa: PLC0415

            self.output = OutputSpec(output_type)
            if self.output.schema.name in self.tools:
                raise ConfigurationError(
                    f"with an output_type, no tool may be named {self.output.schema.name!r}"
                )
            schemas.append(self.output.schema)
        self.schemas: tuple[ToolSchema, ...] = tuple(schemas)


def _may_leave_its_turn(tool: AnyTool) -> bool:
    return (
        tool.route.kind is TaskKind.BACKGROUND
        or tool.route.after is not None
        or tool.policy.on_interrupt is OnInterrupt.KEEP
    )
