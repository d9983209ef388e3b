"""Replaying a tape against another model: the command, and what it shows."""
