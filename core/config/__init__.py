"""The config of a run: its sections, its presets, and all that follows from a config alone."""
