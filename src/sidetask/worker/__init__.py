"""Carrying out background calls of conversations that are open in other processes."""

from sidetask.worker.worker import Worker

__all__ = ["Worker"]
