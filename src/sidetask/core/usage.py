"""What model calls consumed."""

from sidetask.core.ids import value


@value(kw_only=True)
class Usage:
    """Tokens, calls and money. Values add up with `+`."""

    requests: int = 0
    """Model calls."""
    input_tokens: int = 0
    cached_tokens: int = 0
    """Input tokens that the provider read from its prompt cache; part of `input_tokens`."""
    output_tokens: int = 0
    usd: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        if self is NO_USAGE:  # what most sums begin with
            return other
        return Usage(
            requests=self.requests + other.requests,
            input_tokens=self.input_tokens + other.input_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            usd=self.usd + other.usd,
        )


NO_USAGE = Usage()
"""Nothing was consumed."""
ONE_REQUEST = Usage(requests=1)
"""Of a model call that told nothing of what it consumed."""


@value(kw_only=True)
class Price:
    """US dollars for a million tokens."""

    input: float
    output: float
    cached: float | None = None
    """None: cached input costs the same as other input."""

    def of(self, usage: Usage) -> float:
        """What `usage` costs, in US dollars."""
        cached_rate = self.input if self.cached is None else self.cached
        fresh = usage.input_tokens - usage.cached_tokens
        parts = (
            fresh * self.input,
            usage.cached_tokens * cached_rate,
            usage.output_tokens * self.output,
        )
        return sum(parts) / 1_000_000
