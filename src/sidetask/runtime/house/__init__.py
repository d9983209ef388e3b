"""What holds in every conversation of a runtime: its rules, and the tools that they share."""
