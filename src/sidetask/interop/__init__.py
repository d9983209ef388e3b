"""Other frameworks and protocols: each in the one place that imports its library."""
