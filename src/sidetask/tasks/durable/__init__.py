"""What of tasks outlives the process: keeping it, and taking it up again."""
