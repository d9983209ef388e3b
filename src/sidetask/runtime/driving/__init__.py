"""What the driver of a conversation's turns is made of."""
