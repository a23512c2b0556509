"""Checkpoints of rosinality/stylegan2-pytorch: `.pt` files, which are read and written without PyTorch."""
