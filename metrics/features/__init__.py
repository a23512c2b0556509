"""Images through networks, in passes that can go on."""
