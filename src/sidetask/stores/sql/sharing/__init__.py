"""What processes share through a database: news, the queue, and who lives."""
