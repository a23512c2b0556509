"""What a run keeps: options, state, snapshots, reports."""
