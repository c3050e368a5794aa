"""A lab bench in the terminal for early-exit language models: command line and console over `core`."""

__version__ = "0.1.0"
