"""Commands that look into a store, and steer what runs by it."""
