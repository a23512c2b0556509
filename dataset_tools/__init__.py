"""What `dataset_tool.py` does: data sets from anything, one module per kind of source."""
