"""The pictures of docs/ideas: one module each, on a `Sheet`, from the project's own functions."""
