"""Triggers by the clock."""

import asyncio
import math
from datetime import datetime
from zoneinfo import ZoneInfo

from sidetask.core.errors import ConfigurationError, MissingExtraError
from sidetask.runtime.triggers.base import Then, Trigger, TriggerContext, act, check_then


def every(seconds: float, then: Then, *, name: str = "every", at_once: bool = False) -> Trigger:
    """Do something every so many seconds, first after that time; `at_once`: first now.

    What takes longer than its interval is not begun again meanwhile: the times that it missed
    are left out.

    Raises:
        ConfigurationError: Not above 0 seconds, or nothing to do.
    """
    if not (seconds > 0 and math.isfinite(seconds)):
        raise ConfigurationError(f"every({seconds!r}): seconds above 0")
    check_then(then, f"every({seconds:g})")

    async def run(ctx: TriggerContext) -> None:
        loop = asyncio.get_running_loop()  # its time goes on evenly, whoever sets the clock
        begun = loop.time()
        beat = 0 if at_once else 1
        while True:
            await asyncio.sleep(begun + beat * seconds - loop.time())
            await act(then, ctx)
            beat = max(beat, math.floor((loop.time() - begun) / seconds)) + 1

    return Trigger(name, run)


def cron(expression: str, then: Then, *, tz: str = "UTC", name: str = "cron") -> Trigger:
    """Do something at the times of a cron expression in a time zone (`"Europe/Berlin"`).

    When clocks change, a time that does not exist falls on the end of the gap, and one that
    exists twice happens once, as cron does it. Needs the extra `triggers`.

    Raises:
        ConfigurationError: No cron expression, or no such time zone.
        MissingExtraError: The extra is not installed.
    """
    check_then(then, f"cron({expression!r})")
    try:
        from cronsim import CronSim, CronSimError  # noqa: PLC0415 - opened by name
    except ImportError:
        raise MissingExtraError("cron()", "triggers") from None
    try:
        zone = ZoneInfo(tz)
        CronSim(expression, datetime.now(zone))
    except (CronSimError, KeyError, ValueError, OSError) as error:
        raise ConfigurationError(f"cron({expression!r}, tz={tz!r}): {error}") from None

    async def run(ctx: TriggerContext) -> None:
        # One iterator for all times: it knows which of two equal local hours it has told.
        for time in CronSim(expression, datetime.fromtimestamp(ctx.now(), zone)):
            if (when := time.timestamp()) > ctx.now():
                await ctx.sleep_until(when)
                await act(then, ctx)

    return Trigger(name, run)
