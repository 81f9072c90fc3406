"""Checks of any autoregressive language model: do its scores mean what they say?

results     outcome, evidence and reproduction of a check; the report
calling     how a model is called: mask, positions, cache and loss, read off the signature of its forward pass
target      what is audited: a model with its vocabulary, trained length, text and claims
numerics    the precision that a model computes in, and what rounding may change
effort      how a time limit is shared between checks
checks/     one file per check, each registered in CHECKS
auditing    run all checks
loading     the TARGET of a command line as what is audited
hugging_face, token_file    two kinds of target
"""
