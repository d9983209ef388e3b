"""The four tools by which a model looks after its own background tasks.

They take no permits, so they never queue behind what they look after, and they see the tasks
of their own conversation only. None of them can approve anything.
"""

import asyncio

from sidetask.agents.tools.asking import Arguments, Context
from sidetask.agents.tools.tool import AnyTool, Tool
from sidetask.core.errors import ToolError
from sidetask.core.jsons import Json, JsonObject
from sidetask.core.routing import TaskKind, TaskPolicy
from sidetask.tasks.manager import AsyncTaskManager
from sidetask.tasks.values import Resolution, TaskSnapshot

WAIT = 30.0
"""Seconds that a model waits for a task unless it says otherwise."""
LONGEST_WAIT = 600.0

_CONTROL = TaskPolicy(control=True, journal=False, repeatable=True)
_TASK_ID: JsonObject = {"type": "string", "description": "As in its receipt: task-3."}


def task_tools(manager: AsyncTaskManager) -> tuple[AnyTool, ...]:
    """Make the tools for a manager's conversations."""
    tools = TaskTools(manager)
    return (
        Tool.from_schema(
            tools.list_tasks,
            _parameters(),
            name="list_tasks",
            description="List your background tasks that are still at work.",
            policy=_CONTROL,
        ),
        Tool.from_schema(
            tools.wait_for_task,
            _parameters(
                task_id=_TASK_ID,
                seconds={
                    "type": "number",
                    "description": f"How long at most; {WAIT:g} if not given.",
                },
            ),
            name="wait_for_task",
            description="Wait for a background task and read its result, when you need it now.",
            policy=_CONTROL,
        ),
        Tool.from_schema(
            tools.cancel_task,
            _parameters(task_id=_TASK_ID),
            name="cancel_task",
            description="Stop a background task.",
            policy=_CONTROL,
        ),
        Tool.from_schema(
            tools.read_task_progress,
            _parameters(task_id=_TASK_ID),
            name="read_task_progress",
            description="Read how far a background task is.",
            policy=_CONTROL,
        ),
    )


class TaskTools:
    """What the tools do."""

    def __init__(self, manager: AsyncTaskManager) -> None:
        self._manager = manager
        self._handle = manager.handle()

    async def list_tasks(self, arguments: Arguments, ctx: Context) -> Json:
        return [_told(task) for task in self._at_work(ctx)]

    async def wait_for_task(self, arguments: Arguments, ctx: Context) -> str:
        task = self._own(arguments, ctx)
        seconds = arguments.get("seconds", WAIT)
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not is_number or not 0 <= seconds <= LONGEST_WAIT:
            raise ToolError(f"seconds is a number from 0 to {LONGEST_WAIT:g}, not {seconds!r}")
        try:
            async with asyncio.timeout(seconds):
                await self._handle.wait(task.id)
        except TimeoutError:
            return f"{task.id} is still {self._handle.get(task.id).status} after {seconds:g} s."
        return _read(self._manager.claim(ctx.conversation_id, task.id, ctx.task_id))

    async def cancel_task(self, arguments: Arguments, ctx: Context) -> str:
        task = self._own(arguments, ctx)
        result = await self._handle.cancel(task.id, "the model cancelled it")
        if result == "cancelled":
            self._manager.claim(ctx.conversation_id, task.id, ctx.task_id)
            return f"{task.id} is cancelled."
        return f"{task.id} had already finished; its result comes by itself, or by wait_for_task."

    async def read_task_progress(self, arguments: Arguments, ctx: Context) -> Json:
        return _told(self._own(arguments, ctx))

    def _own(self, arguments: Arguments, ctx: Context) -> TaskSnapshot:
        """The task that is meant, if it is another background task of this conversation."""
        task_id = str(arguments.get("task_id", ""))
        for task in self._handle.list(conversation_id=ctx.conversation_id):
            if task.id == task_id and _is_another(task, ctx):
                return task
        known = ", ".join(task.id for task in self._at_work(ctx)) or "none"
        raise ToolError(f"no background task {task_id!r}; at work: {known}")

    def _at_work(self, ctx: Context) -> list[TaskSnapshot]:
        running = self._handle.list_running(ctx.conversation_id)
        return [task for task in running if _is_another(task, ctx)]


def _parameters(**properties: JsonObject) -> JsonObject:
    required = [name for name in properties if name != "seconds"]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _is_another(task: TaskSnapshot, ctx: Context) -> bool:
    return task.kind is TaskKind.BACKGROUND and task.id != ctx.task_id


def _told(task: TaskSnapshot) -> Json:
    told: dict[str, Json] = {
        "task_id": task.id,
        "tool": task.name,
        "arguments": task.arguments,
        "status": task.status,
    }
    if task.progress is not None:
        told["progress"] = task.progress.fraction
        told["note"] = task.progress.note
    return told


def _read(resolution: Resolution) -> str:
    return f"{resolution.task_id} {resolution.status}:\n{resolution.content}"
