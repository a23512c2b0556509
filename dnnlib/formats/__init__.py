"""Files of others, read without trust: pickles, PyTorch, arrays, kinds of files."""
