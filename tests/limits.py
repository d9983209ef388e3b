"""How long a test waits, on a real clock, for what must come.

A limit is there to end a hang, and never to measure: a machine that is ten times slower than ours
passes. What must be fast is shown by an order of events, or beside a limit that is far away.
"""

HANG = 50.0
"""Real seconds after which what a test waits for will not come any more. Less than pytest's
`faulthandler_timeout`, which ends the whole run."""
