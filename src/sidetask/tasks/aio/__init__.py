"""What the task manager stands on: time, tokens, threads and streams."""
