"""What runs of Pydantic AI consume, as ours, and charged to whoever invoked them."""

from pydantic_ai.usage import RunUsage

from sidetask.core.budget import ambient_meter
from sidetask.core.usage import Usage

_NOTHING = Usage()


def spend(used: RunUsage) -> None:
    """Charge it to the ambient meter, if there is one."""
    meter = ambient_meter.get()
    if meter is None:
        return
    usage = Usage(
        requests=used.requests,
        input_tokens=used.input_tokens,
        cached_tokens=used.cache_read_tokens,
        output_tokens=used.output_tokens,
        usd=float(used.cost or 0),
    )
    if usage != _NOTHING or used.tool_calls:
        meter.spend(usage, steps=used.requests, tool_calls=used.tool_calls)
