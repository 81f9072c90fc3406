"""Training by several threads or processes: strategies, what torchrun says, compilation with a fallback."""
