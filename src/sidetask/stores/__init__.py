"""Where conversations and their events are kept: a family behind one contract."""
