"""Generators and discriminators, layer by layer."""
