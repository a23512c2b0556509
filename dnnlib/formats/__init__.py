"""Files of others, read without trust: what they are, and what is in them."""
