"""Against a server that speaks the wires of the providers, over the loopback."""
