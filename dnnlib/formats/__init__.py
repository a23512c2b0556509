"""Files of others, read without trust: what is in them."""
