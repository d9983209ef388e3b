"""One turn of a conversation: its loop, its steps, and where they write."""
