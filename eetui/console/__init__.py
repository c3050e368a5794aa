"""Shared parts of all screens: the bench, the screen base, dialogs, keys, settings, the training thread."""
