"""What the discriminator sees in StyleGAN2-ADA."""
