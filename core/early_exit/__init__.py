"""Running a model that tokens leave early: masked, skipping, and generating with a cache."""
