"""Benchmarks, each a module with a command line of its own: python -m benchmarks.NAME --help."""

import core  # noqa: F401 -- before anything imports torch: its threads wait as those of a run do
