"""The live agents of a runtime: how they are opened, and what they are to each other."""
