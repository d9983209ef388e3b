"""What a chat shows: events as lines, and where the lines are written."""
