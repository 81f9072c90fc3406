"""Measurements of speed against other people's code and other ways, alternated in one run; one file each."""

from mingpt.benchmarks.options import BENCHMARKS as BENCHMARKS
