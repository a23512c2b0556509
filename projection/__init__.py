"""What the projector and its script are made of."""
