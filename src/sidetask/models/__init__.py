"""Language models: a family behind one streamed call."""
