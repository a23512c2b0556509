"""Numbers from features; NumPy only."""
