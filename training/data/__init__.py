"""Data sets: finding, reading, writing."""
