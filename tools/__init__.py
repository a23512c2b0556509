"""Benchmarks, checks of kernels, pictures of documents, set-up."""
