"""Models by their names."""
