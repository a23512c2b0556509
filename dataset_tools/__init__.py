"""What `dataset_tool.py` does: one module per kind of source."""
