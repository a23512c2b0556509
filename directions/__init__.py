"""What `run_directions.py` does: finds directions of a generator, in W or in style space, and shows them."""
