"""Training in several threads or processes: strategies, torchrun's environment, compilation with a fallback."""
