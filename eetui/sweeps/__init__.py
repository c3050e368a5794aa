"""The Sweep screen: stored sweeps, and what came of one: cells, heat table, front, best by purpose, importance."""
