"""`sidetask worker`."""
