"""A lab bench in the terminal for early-exit language models: command line and console over `core`."""

import core  # noqa: F401 -- before anything imports torch: it sets how torch's threads wait

__version__ = "0.1.0"
