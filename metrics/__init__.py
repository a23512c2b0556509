"""Metrics of networks: a module for each, and rooms for features, mathematics, and the networks that measure."""
