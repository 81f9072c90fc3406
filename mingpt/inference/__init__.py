"""What a trained model is used for: generation, evaluation, the causality check."""
