"""Runs that are trained on other machines: what they say, who listens, and Ray between the two."""
