"""An engine whose jobs remember their finished steps, in a journal that is handed in."""

from sidetask.engines.base import Capabilities, JournalingEngine


class StoredEngine(JournalingEngine):
    """Runs each job as one asyncio task of the running loop, and journals its steps."""

    capabilities = Capabilities(durable=True, distributed=False)
