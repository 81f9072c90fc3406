"""Measurements of speed against other people's code, each peer in a process of its own, alternated in one run."""
