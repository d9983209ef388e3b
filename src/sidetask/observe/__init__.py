"""Watching a runtime from outside: what it traces, measures and logs. It changes nothing."""
