"""What `run_generator.py` does: points of latent space to images, figures and videos; `images` for programs."""

from .calls import images
