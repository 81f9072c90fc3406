"""What experiments measure beside their runs: each gives rows, and draws them from the rows alone."""
