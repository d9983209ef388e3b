"""What keeps a run within bounds: budgets, doom loops, the length of what the model reads."""
