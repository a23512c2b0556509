"""What `tools/gpu_report.py` runs and writes."""
