"""Values that take time, by name."""

from sidetask.orchestration.resolvers.resolver import Resolver as Resolver
from sidetask.orchestration.resolvers.resolver import ResolverOptions as ResolverOptions

__all__ = ["Resolver", "ResolverOptions"]
