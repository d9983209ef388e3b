"""Agents, their tools, and the loop that drives a turn."""
