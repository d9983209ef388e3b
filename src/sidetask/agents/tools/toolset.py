"""The tools of live agents, by name, with all that is built once and not for each call, and not
for each of the conversations that have the same ones."""

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol
from weakref import WeakValueDictionary

from sidetask.agents.tools.kept import KeptOutputs
from sidetask.agents.tools.tool import AnyTool
from sidetask.core.errors import ConfigurationError
from sidetask.core.routing import OnInterrupt, TaskKind
from sidetask.models.base import ToolSchema


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
    """An agent's own tools; those for its tasks, where it can have any in the background; and
    the one that reads long outputs, where it has tools at all. It is never changed: any number
    of conversations share it.

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
        outputs: KeptOutputs | None = None,
    ) -> None:
        self._output_type = output_type  # kept: it is known by its identity, below
        house = list(task_tools if routed or any(map(_may_leave_its_turn, tools)) else ())
        if outputs is not None and tools:
            house.append(outputs.tool)
        own = {each.name for each in tools}
        tools = (*tools, *(each for each in house if each.name not in own))
        keep = outputs.keep if outputs is not None else None
        self.tools: Mapping[str, AnyTool] = {each.name: each for each in tools}
        self.executors = {each.name: partial(each.execute, keep=keep) for each in tools}
        self.portable = {each.name: each for each in tools if each.portable}
        """Those that a worker may carry out."""
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


class Toolsets:
    """The toolsets of one runtime. Live agents that have the same tools have the same toolset; it
    goes with the last of them."""

    def __init__(
        self, task_tools: Sequence[AnyTool], *, routed: bool, outputs: KeptOutputs
    ) -> None:
        self._task_tools = task_tools
        self._routed = routed
        self._outputs = outputs
        self._made: WeakValueDictionary[Hashable, Toolset] = WeakValueDictionary()

    def of(self, tools: Sequence[AnyTool], output_type: type[Any] | None) -> Toolset:
        """The toolset of an agent. Raises as `Toolset` does."""
        key = (id(output_type), *tools)  # not every type can be hashed
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = Toolset(
                tools,
                output_type=output_type,
                task_tools=self._task_tools,
                routed=self._routed,
                outputs=self._outputs,
            )
        return found


def _may_leave_its_turn(tool: AnyTool) -> bool:
    return (
        tool.route.kind is TaskKind.BACKGROUND
        or tool.route.after is not None
        or tool.policy.on_interrupt is OnInterrupt.KEEP
    )
