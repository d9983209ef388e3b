"""The one place that wires models, tasks, state and store together."""
