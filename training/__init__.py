"""Networks, and what trains them and renders their images."""
