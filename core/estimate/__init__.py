"""Before a run: its FLOPs, memory and time, measured and worked out."""
