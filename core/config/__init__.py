"""What a run is: the validated config, its sections, presets, and all that follows from a config alone."""
