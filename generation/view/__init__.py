"""A page to play with: a server on this machine, what its page asks for, and the page."""
