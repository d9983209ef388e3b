"""Flows: what a flow is made of, how it is checked, kept, enforced and drawn."""
