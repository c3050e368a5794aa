"""Sweeps: many runs over values and seeds, their plan, and the workers that train them."""
