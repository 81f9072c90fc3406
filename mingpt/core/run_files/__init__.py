"""Readers of a run folder's files, without PyTorch."""
