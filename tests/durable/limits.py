"""How long these tests wait for what must come, on a machine that does other things meanwhile.

A limit is there to end a hang, and never to measure. What is to be quick is shown on the virtual
clock (`tests/worker`), or printed; what must happen in an order is held up until it is its turn.
"""

HANG = 300.0
"""Real seconds after which what a test waits for will not come any more. `make durable` lets a test
take longer than that."""
AGES = 3_600.0
"""Real seconds that no test takes: for work that is still under way when its time has come."""
