"""What everything else stands on: errors, registries, settings from the command line, files, signals. No PyTorch."""
