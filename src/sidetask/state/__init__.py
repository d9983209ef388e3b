"""What agents share: a blackboard of JSON values."""
