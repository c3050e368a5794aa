"""Estimates before a run: FLOPs, memory and time."""
