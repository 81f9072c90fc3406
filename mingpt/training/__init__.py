"""What one training step needs: optimizers, truncated back-propagation, profiling, their settings."""
