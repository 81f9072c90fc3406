"""Questions, and the runs that answer them: one file per experiment, registered where it is defined; see `catalogue`.

Variants times seeds become trials, each an ordinary run; what a run can't show is measured in addition.
"""
