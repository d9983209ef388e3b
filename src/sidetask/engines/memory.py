"""An engine that forgets at exit: a job is an asyncio task."""

from sidetask.engines.base import Capabilities, LocalEngine


class MemoryEngine(LocalEngine):
    """Runs each job as one asyncio task of the running loop."""

    capabilities = Capabilities(durable=False, distributed=False)
