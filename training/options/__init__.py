"""From flags to the arguments of the training loop."""
