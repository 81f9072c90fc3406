"""What experiments measure in addition to their runs: each gives rows, and draws them from the rows alone."""
