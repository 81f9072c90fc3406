"""Recurrent layers: cells, their scan over time, and stacks of layers."""
