"""Steering a live agent: stopping it, and waiting for it."""

import asyncio
from typing import Literal

from sidetask.core.errors import ConfigurationError
from sidetask.runtime.live.base import Live
from sidetask.runtime.views import ConversationTasks
from sidetask.tasks.values import Idle


class Steering(Live):
    """The part of a handle that stops and waits."""

    async def interrupt(self, scope: Literal["turn", "all"] = "turn") -> None:
        """A user's Stop: end the running turn and what it waits for, and wait until it has.

        The background lives, unless `scope` is `"all"`. No result begins a turn until the user
        speaks again; triggers go on. The history stays valid: every call is answered, partial text
        is kept.

        Raises:
            ConfigurationError: There is no such scope; nothing was stopped.
            AgentNotStartedError: The agent is shut down.
        """
        self._driver.check_open()
        if scope not in ("turn", "all"):
            raise ConfigurationError(f"scope is 'turn' or 'all', not {scope!r}")
        self._driver.waking.park()
        tasks = ConversationTasks(self._tasks, self.conversation_id)
        stopped = tasks.running() if scope == "all" else []
        for task in stopped:
            self._tasks.task(task.id).cancel("the user stopped everything")
        await self._driver.stop_turn("the user interrupted the turn")
        for task in stopped:
            await self._tasks.wait(task.id)

    async def cancel(self) -> None:
        """End the running turn; results may begin another one by themselves.

        Raises:
            AgentNotStartedError: The agent is shut down.
        """
        self._driver.check_open()
        await self._driver.stop_turn("the turn was cancelled")

    async def wait_for_idle(self, timeout: float | None = None) -> Idle:
        """Wait until no turn runs or is about to, and no task is queued or running; or until
        somebody calls `signal_idle`. Tells what is still open then.

        Raises:
            TimeoutError: It took longer than `timeout` seconds.
            AgentNotStartedError: The agent is shut down, or was meanwhile.
        """
        driver = self._driver
        driver.check_open()
        driver.check_outside()
        signals = driver.signals
        async with asyncio.timeout(timeout):
            while not driver.is_idle and driver.signals == signals:
                await driver.changed()
                driver.check_open()
        key = self.conversation_id
        return Idle(
            undelivered=self._on.manager.mailbox.undelivered(key),
            approvals=len(self._tasks.approvals(key)),
        )

    async def wait_for_wakeup(self, timeout: float | None = None) -> bool:
        """Wait until there is a reason for a turn that nobody asked for: results that ask to
        continue, or a trigger. It does not matter whether that turn begins by itself, or waits
        for the user or the host (after a Stop, or beyond `max_auto_turns`).

        False after `timeout` seconds, and as soon as the agent is shut down.

        Raises:
            AgentNotStartedError: The agent was shut down before.
        """
        driver = self._driver
        driver.check_open()
        woken = driver.woken
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                while not driver.has_reason and driver.woken == woken:
                    if driver.closed:
                        return False
                    await driver.changed()
        except TimeoutError:
            if not limit.expired():
                raise
            return False
        return True

    def signal_idle(self) -> None:
        """Release those who wait for idle, as it is: for a host that drives the loop by hand and
        knows that nothing more will come.

        Raises:
            AgentNotStartedError: The agent is shut down.
        """
        self._driver.check_open()
        self._driver.signals += 1
        self._driver.wake()

    @property
    def is_idle(self) -> bool:
        """No turn runs or is about to, and no task is queued or running."""
        return self._driver.is_idle
