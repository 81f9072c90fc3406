"""Inference with trained models: generation, evaluation, the causality check."""
