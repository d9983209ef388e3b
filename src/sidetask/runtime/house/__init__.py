"""The rules of the house: what holds in every conversation of a runtime."""
