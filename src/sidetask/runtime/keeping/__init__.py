"""What of a live agent outlives it, in its store: writing it down, and taking it up again."""
