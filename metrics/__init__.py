"""Metrics of networks, computed at snapshots of a training."""
