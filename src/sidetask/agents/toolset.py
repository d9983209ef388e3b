"""The tools of one live agent, by name, with all that is built once and not for each call."""

from collections.abc import Iterable, Mapping

from sidetask.agents.agent import AgentConfig
from sidetask.agents.tools import AnyTool
from sidetask.core.errors import ConfigurationError
from sidetask.core.routing import TaskKind
from sidetask.models.base import ToolSchema
from sidetask.tasks.parts.runner import Executor


class Toolset:
    """An agent's own tools, and the ones for its tasks where it can have any."""

    def __init__(self, config: AgentConfig, task_tools: Iterable[AnyTool], *, routed: bool) -> None:
        tools = list(config.toolbox)
        if routed or any(_may_leave_the_turn(each) for each in tools):
            own = {each.name for each in tools}
            tools += [each for each in task_tools if each.name not in own]
        self.tools: Mapping[str, AnyTool] = {each.name: each for each in tools}
        self.executors: Mapping[str, Executor] = {each.name: each.execute for each in tools}
        self.output = None
        schemas = [each.schema for each in tools]
        if config.output_type is not None:
            # Loaded only where it is used: it brings pydantic along.
            from sidetask.agents.structured import NAME, output_spec  # noqa: PLC0415

            if NAME in self.tools:
                raise ConfigurationError(f"with an output_type, no tool may be named {NAME!r}")
            self.output = output_spec(config.output_type)
            schemas.append(self.output.schema)
        self.schemas: tuple[ToolSchema, ...] = tuple(schemas)


def _may_leave_the_turn(tool: AnyTool) -> bool:
    return tool.route.kind is TaskKind.BACKGROUND or tool.route.after is not None
