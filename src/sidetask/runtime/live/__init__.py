"""What a live agent's handle is put together from."""
