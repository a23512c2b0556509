"""One iteration of training, the schedule, and the run."""
