"""The rules of the house: what holds in every conversation of a runtime, and in one of them.

Policies add up, and the strictest stands; hooks of the runtime come before those of the agent.
"""

from collections.abc import Mapping
from dataclasses import replace

from sidetask.agents.agent import AgentConfig
from sidetask.agents.conversation import Conversation
from sidetask.agents.policies.calling import TurnHooks
from sidetask.agents.policies.gate import ToolGate
from sidetask.agents.policies.hooks import HookContext, Hooks
from sidetask.agents.policies.rules import Policy
from sidetask.core.errors import ConfigurationError
from sidetask.core.errors.checks import check_kind
from sidetask.core.ids import value
from sidetask.runtime.house.approving import ApprovalHandler, OnApproval, check_on_approval
from sidetask.tasks.elsewhere import ToolExecutor
from sidetask.tasks.parts.runner import Executor


@value
class House:
    """Policies, hooks, and who answers questions.

    Raises:
        ConfigurationError: Something is none of these.
    """

    policies: tuple[Policy, ...] = ()
    hooks: tuple[Hooks, ...] = ()
    on_approval: OnApproval | None = None

    def __post_init__(self) -> None:
        check_on_approval(self.on_approval)
        for each in self.policies:
            check_kind("policy", each, Policy)
        for each in self.hooks:
            if not isinstance(each, Hooks):  # pyright: ignore[reportUnnecessaryIsInstance] - a host's code may not be typed
                raise ConfigurationError(f"{each!r} is no Hooks: subclass it")

    def of(self, agent: AgentConfig) -> "House":
        """The rules for one agent inside this house."""
        if agent.policy is None and not agent.hooks:
            return self
        own = () if agent.policy is None else (agent.policy,)
        return House((*self.policies, *own), (*self.hooks, *agent.hooks), self.on_approval)

    def below(self, policies: tuple[Policy, ...]) -> "House":
        """These rules for the sub-agents of an agent with these policies, which are the runtime's
        and its own: none may do what it may not."""
        return replace(self, policies=policies)

    def check(self, *, kept: bool) -> None:
        """See that whoever is asked can answer; `kept`: open questions survive in a store.

        Raises:
            ConfigurationError: Nobody would ever be told of a question.
        """
        if kept or self.on_approval is not None or not self.policies:
            return
        if any(each.asks for each in self.policies):
            raise ConfigurationError(
                "a policy asks and nobody would answer: give on_approval= an async function, or"
                " 'host' if your program decides through handle.approvals"
            )

    @property
    def has_rules(self) -> bool:
        """A conversation is told of something, or a call asked about."""
        return bool(self.policies or self.hooks)

    def gated(
        self, executors: Mapping[str, ToolExecutor], ctx: HookContext
    ) -> Mapping[str, Executor]:
        """The tools of a conversation, behind its gate."""
        return ToolGate(self.policies, self.hooks, ctx).before(executors)

    def settle(self, conversation: Conversation, ctx: HookContext) -> None:
        """Give a conversation its hooks."""
        if self.hooks:
            conversation.hooks = TurnHooks(self.hooks, ctx)
            conversation.on_compaction = conversation.hooks.compacted

    @property
    def handler(self) -> ApprovalHandler | None:
        """Who answers questions; None: the program itself, or nobody."""
        return None if self.on_approval == "host" else self.on_approval
