"""The names in which spans and metrics are told: OpenTelemetry's for generative AI, and ours.

Those that begin with `gen_ai.` and `error.` are of the semantic conventions for generative AI
(https://opentelemetry.io/docs/specs/semconv/gen-ai/), which are still in development: this is
the one place where they are written. What the conventions have no word for begins with
`sidetask.`.
"""

from collections.abc import Mapping
from types import MappingProxyType

SCOPE = "sidetask"
"""The instrumentation scope of every span and metric."""

# -- spans --------------------------------------------------------------------------------------

INVOKE_AGENT = "invoke_agent"
CHAT = "chat"
EXECUTE_TOOL = "execute_tool"
TASK = "task"
DISPATCH = "dispatch"

# -- attributes ---------------------------------------------------------------------------------

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
CONVERSATION = "gen_ai.conversation.id"
AGENT = "gen_ai.agent.name"
REQUEST_MODEL = "gen_ai.request.model"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
TOKEN_TYPE = "gen_ai.token.type"
TOOL = "gen_ai.tool.name"
TOOL_TYPE = "gen_ai.tool.type"
CALL = "gen_ai.tool.call.id"
ARGUMENTS = "gen_ai.tool.call.arguments"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
ERROR_TYPE = "error.type"

TURN = "sidetask.turn.id"
RUN = "sidetask.run.id"
CAUSE = "sidetask.run.cause"
STEPS = "sidetask.run.steps"
STEP = "sidetask.step"
COST = "sidetask.usage.usd"
TASK_ID = "sidetask.task.id"
PARENT_TASK = "sidetask.task.parent_id"
BACKGROUND = "sidetask.task.background"
DETACHED = "sidetask.task.detached"
ABANDONED = "sidetask.task.abandoned"
ATTEMPT = "sidetask.task.attempt"
QUEUE_WAIT_TIME = "sidetask.task.queue_wait"
"""Seconds."""
OUTCOME = "sidetask.outcome"
REASON = "sidetask.reason"
APPROVAL = "sidetask.approval.id"
DECISION = "sidetask.approval.decision"
WAIT = "sidetask.model.wait"
"""Seconds that calls with this key are parked, or one has waited."""
REPEATED = "sidetask.repeated_tools"
FAILURES = "sidetask.compaction.failures"
TOKENS_BEFORE = "sidetask.compaction.tokens_before"
TOKENS_AFTER = "sidetask.compaction.tokens_after"
LINK = "sidetask.link"
"""Why a span is linked: `cause`, `result`, `launched`, `launcher`."""

# -- metrics ------------------------------------------------------------------------------------

OPERATION_DURATION = "gen_ai.client.operation.duration"
TOKEN_USAGE = "gen_ai.client.token.usage"
TASKS_ALIVE = "sidetask.tasks.alive"
TASK_DURATION = "sidetask.task.duration"
QUEUE_WAIT = "sidetask.task.queue_wait"
RUN_DURATION = "sidetask.run.duration"
RATE_LIMITED = "sidetask.model.rate_limited"

# -- providers ----------------------------------------------------------------------------------

PROVIDERS: Mapping[str, str] = MappingProxyType(
    {
        "azure": "azure.ai.openai",
        "bedrock": "aws.bedrock",
        "google": "gcp.gemini",
        "google-cloud": "gcp.vertex_ai",
        "grok": "x_ai",
        "mistral": "mistral_ai",
        "openai-chat": "openai",
        "openai-responses": "openai",
        "xai": "x_ai",
    }
)
"""Where the conventions have another word than we."""


def provider_and_model(name: str) -> tuple[str, str]:
    """What a model's name says: `openai:gpt-5.2`; a model without a provider is its own."""
    provider, colon, model = name.partition(":")
    if not colon or ", " in name:  # a chain of models has no one provider
        return SCOPE, name
    return PROVIDERS.get(provider, provider), model
