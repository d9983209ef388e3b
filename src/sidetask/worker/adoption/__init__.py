"""Taking up conversations that nobody has open."""
