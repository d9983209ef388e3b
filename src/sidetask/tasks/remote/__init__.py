"""Carrying background calls out in other processes: the side of who has the conversation open."""
