"""What makes tasks durable: a family behind one narrow seam."""
