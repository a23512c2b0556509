"""Benchmarks, checks of kernels, pictures of the documents, set-up."""
