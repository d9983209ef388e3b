"""The store that forgets at exit."""

from sidetask.stores.memory.store import MemoryStore

__all__ = ["MemoryStore"]
