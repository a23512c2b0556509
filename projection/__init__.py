"""What `run_projector.py` does: images back to points of latent space."""
