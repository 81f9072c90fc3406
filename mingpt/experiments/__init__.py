"""Questions, and the runs that answer them: one file an experiment, registered where it is defined; `known` has all.

A grid of settings times seeds becomes cells, each an ordinary run; what a run can't say is measured beside them.
"""
