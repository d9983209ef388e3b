"""Guards: conditions on the state that can be combined, told, and reasoned about."""
